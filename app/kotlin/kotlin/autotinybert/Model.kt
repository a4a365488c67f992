package autotinybert

import kotlin.coroutines.cancellation.CancellationException
import kotlin.coroutines.resumeWithException
import kotlin.coroutines.resume
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.asExecutor
import kotlinx.coroutines.suspendCancellableCoroutine
import kotlinx.coroutines.withContext

/** What a model can be asked for. */
public enum class Task {
    /** [Model.classify]. */
    CLASSIFY,

    /** [Model.score]. */
    SCORE,

    /** [Model.embed]. */
    EMBED,

    /** [Model.answer]. */
    ANSWER,

    /** [Model.tag]. */
    TAG,
}

/**
 * A label and how probable it is.
 *
 * @property name its name.
 * @property index its number among [Model.labels].
 * @property probability how probable it is, from 0 to 1.
 */
public data class Label(val name: String, val index: Int, val probability: Float)

/**
 * A part of a text that answers a question.
 *
 * @property text the part of the text.
 * @property start where it begins: `text.substring(start, end)` is the part.
 * @property end where it ends.
 * @property probability how probable it is among the answers that were found, from 0 to 1.
 * @property score the sum of the logits of its begin and end, to compare answers from several
 *   texts by.
 */
public data class Answer(
    val text: String,
    val start: Int,
    val end: Int,
    val probability: Float,
    val score: Float,
)

/**
 * A part of a text, and its label.
 *
 * @property text the part of the text.
 * @property label its label, without the `B-` or `I-` that says whether a part begins or goes on.
 * @property start where it begins: `text.substring(start, end)` is the part.
 * @property end where it ends.
 * @property probability how probable the label is, from 0 to 1.
 */
public data class Tag(
    val text: String,
    val label: String,
    val start: Int,
    val end: Int,
    val probability: Float,
)

/**
 * A loaded bundle.
 *
 * Functions that take time are suspending and run on a dispatcher of their own, so that they may
 * be called from the main thread. Any number of coroutines may use one model at once; there is
 * one copy of the weights. A coroutine that is cancelled resumes at once, and its call ends
 * before the next run of the network.
 *
 * Close it when it is no longer needed: its memory is not the virtual machine's. Calls that are
 * running then go on, later ones throw [ArgumentException].
 *
 * ```
 * Model.open(Bundle.at(File("bundle.atb"))).use { model ->
 *     val best = model.classify("The battery lasts two days.").first()
 *     println("${best.name} ${best.probability}")
 * }
 * ```
 */
public class Model private constructor(
    private val number: Long,
    private val dispatcher: CoroutineDispatcher,
) : AutoCloseable {
    private val facts = Native.facts(number)

    /** What the model gives; the other functions throw [TaskException]. */
    public val tasks: Set<Task> =
        Task.entries.filterTo(mutableSetOf()) { (facts[0].toInt() shr it.ordinal) and 1 == 1 }

    /** The names of its labels, in the order of its outputs; empty if it has none to give. */
    public val labels: List<String> = Native.labels(number).map { it.decodeToString() }

    /** Values of an embedding; zero if it gives none. */
    public val embeddingSize: Int = facts[1].toInt()

    /**
     * Most tokens of a text that count, special ones included; the rest of it is left out, but
     * for [answer] and [tag].
     */
    public val maxTokens: Int = facts[2].toInt()

    /** The least and the largest score that it gives, where the bundle says so. */
    public val scoreRange: ClosedFloatingPointRange<Float>? =
        if (facts.size > 4) facts[3].toFloat()..facts[4].toFloat() else null

    /**
     * Runs a text as long as the model takes, so that the next call does not pay for what only
     * the first does.
     */
    public suspend fun warmUp(): Unit = call { Native.warmUp(number, it) }

    /** The labels of [text], the most probable first. */
    public suspend fun classify(text: String): List<Label> = classify(listOf(text)).first()

    /** The labels of each text, the most probable first. */
    public suspend fun classify(texts: List<String>): List<List<Label>> =
        named(call { Native.classify(number, it, utf8(texts), null) })

    /** The labels of each pair of texts, the most probable first. */
    public suspend fun classifyPairs(pairs: List<Pair<String, String>>): List<List<Label>> =
        named(call { Native.classify(number, it, firsts(pairs), seconds(pairs)) })

    /** The score of [text], within [scoreRange] where there is one. */
    public suspend fun score(text: String): Float = score(listOf(text)).first()

    /** The score of each text, within [scoreRange] where there is one. */
    public suspend fun score(texts: List<String>): List<Float> =
        call { Native.score(number, it, utf8(texts), null) }.asList()

    /** The score of each pair of texts, within [scoreRange] where there is one. */
    public suspend fun scorePairs(pairs: List<Pair<String, String>>): List<Float> =
        call { Native.score(number, it, firsts(pairs), seconds(pairs)) }.asList()

    /** The embedding of [text]: [embeddingSize] values. */
    public suspend fun embed(text: String): FloatArray = embed(listOf(text)).first()

    /** The embedding of each text: [embeddingSize] values. */
    public suspend fun embed(texts: List<String>): List<FloatArray> {
        val values = call { Native.embed(number, it, utf8(texts)) }
        return texts.indices.map {
            values.copyOfRange(it * embeddingSize, (it + 1) * embeddingSize)
        }
    }

    /**
     * The parts of [text] that answer [question] best, at most [count], the most probable first.
     * A long text is read in windows that overlap.
     */
    public suspend fun answer(question: String, text: String, count: Int = 1): List<Answer> {
        val found = call {
            Native.answer(number, it, question.encodeToByteArray(), text.encodeToByteArray(), count)
        }
        return found.asList().chunked(4) { (start, end, probability, score) ->
            val (from, to) = start.toInt() to end.toInt()
            Answer(text.substring(from, to), from, to, probability.toFloat(), score.toFloat())
        }
    }

    /**
     * The labelled parts of [text], in their order. A word has the label of its first token;
     * neighbouring words of one label are one part, unless the later one's label begins with
     * `B-`, and words labelled `O` are left out. A long text is read in windows that overlap.
     */
    public suspend fun tag(text: String): List<Tag> {
        val found = call { Native.tag(number, it, text.encodeToByteArray()) }
        return found.asList().chunked(4) { (start, end, index, probability) ->
            val (from, to) = start.toInt() to end.toInt()
            val label = labels[index.toInt()].removePrefix("B-").removePrefix("I-")
            Tag(text.substring(from, to), label, from, to, probability.toFloat())
        }
    }

    /** Frees the model when the last call that is running has ended. */
    override fun close(): Unit = Native.close(number)

    /** Does [work] on the dispatcher; its argument is a cancellation that ends with the call. */
    private suspend fun <T> call(work: (Long) -> T): T {
        val cancellation = Native.newCancellation()
        return suspendCancellableCoroutine { continuation ->
            continuation.invokeOnCancellation { Native.cancel(cancellation) }
            val run = Runnable {
                try {
                    continuation.resume(work(cancellation))
                } catch (failure: Throwable) {
                    continuation.resumeWithException(failure)
                } finally {
                    Native.forget(cancellation)
                }
            }
            dispatcher.asExecutor().execute(run)
        }
    }

    /** The labels of each row of probabilities, the most probable first. */
    private fun named(probabilities: FloatArray): List<List<Label>> =
        probabilities.asList().chunked(labels.size) { row ->
            row.mapIndexed { index, value -> Label(labels[index], index, value) }
                .sortedByDescending { it.probability }
        }

    public companion object {
        /**
         * Opens a bundle.
         *
         * @param bundle where it is.
         * @param checkDigests whether every part's digest is checked first. It costs the time to
         *   read the bundle once more, and tells of a file that was damaged where its sizes do
         *   not.
         * @param dispatcher what the model's calls run on.
         * @throws BundleException naming what is wrong with it.
         */
        public suspend fun open(
            bundle: Bundle,
            checkDigests: Boolean = false,
            dispatcher: CoroutineDispatcher = Dispatchers.Default,
        ): Model {
            var opened: Model? = null
            try {
                // Waits for the end also if it is cancelled: until then the file is in use.
                return withContext(dispatcher) {
                    val number = with(bundle) {
                        Native.open(path, bytes, descriptor, offset, length, checkDigests)
                    }
                    Model(number, dispatcher).also { opened = it }
                }
            } catch (cancelled: CancellationException) {
                opened?.close()
                throw cancelled
            }
        }
    }
}

private fun utf8(texts: List<String>) = Array(texts.size) { texts[it].encodeToByteArray() }

private fun firsts(pairs: List<Pair<String, String>>) = utf8(pairs.map { it.first })

private fun seconds(pairs: List<Pair<String, String>>) = utf8(pairs.map { it.second })
