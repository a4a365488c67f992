package demo

import autotinybert.Model
import autotinybert.Task
import java.util.Locale

private fun decimal(value: Float) = String.format(Locale.ROOT, "%.4f", value)

/** What [model] gives for each text; of a question and a text, the answers. */
suspend fun answers(model: Model, texts: List<String>): String = buildString {
    if (Task.CLASSIFY in model.tasks) {
        for ((text, labels) in texts.zip(model.classify(texts))) {
            appendLine(text)
            labels.forEach { appendLine("  ${it.name} ${decimal(it.probability)}") }
        }
    }
    if (Task.SCORE in model.tasks) {
        for ((text, score) in texts.zip(model.score(texts))) {
            appendLine(text)
            appendLine("  ${decimal(score)}")
        }
    }
    if (Task.EMBED in model.tasks) {
        for ((text, vector) in texts.zip(model.embed(texts))) {
            appendLine(text)
            appendLine("  ${vector.size} values, the first ${decimal(vector[0])}")
        }
    }
    if (Task.TAG in model.tasks) {
        for (text in texts) {
            appendLine(text)
            for (tag in model.tag(text)) {
                val place = "${tag.start} to ${tag.end}"
                appendLine("  ${tag.text} ($place) ${tag.label} ${decimal(tag.probability)}")
            }
        }
    }
    if (Task.ANSWER in model.tasks && texts.size == 2) {
        for (answer in model.answer(texts[0], texts[1], 3)) {
            val place = "${answer.start} to ${answer.end}"
            appendLine("${answer.text} ($place) ${decimal(answer.probability)}")
        }
    }
}
