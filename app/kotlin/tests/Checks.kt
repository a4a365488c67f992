package checks

import autotinybert.ArgumentException
import autotinybert.AutotinybertException
import autotinybert.Bundle
import autotinybert.BundleException
import autotinybert.Label
import autotinybert.Model
import autotinybert.Task
import autotinybert.TaskException
import autotinybert.measure
import java.io.File
import java.io.RandomAccessFile
import java.nio.file.Files
import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.delay
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout

private const val SENTENCE = "The battery lasts two days."

/** What a call throws. */
private suspend inline fun <reified T : Throwable> thrown(call: suspend () -> Any?): T {
    try {
        call()
    } catch (failure: Throwable) {
        return failure as? T ?: throw failure
    }
    error("nothing was thrown")
}

/** The number of an open file. */
private fun descriptor(file: File): Int {
    val open = File("/proc/self/fd").listFiles().orEmpty()
    val own = file.toPath().toRealPath()
    return open.first {
        runCatching { Files.readSymbolicLink(it.toPath()) == own }.getOrDefault(false)
    }.name.toInt()
}

/** Every way in gives the same model. */
private suspend fun ways(file: File, expected: List<Label>) {
    Model.open(Bundle.of(file.readBytes()), checkDigests = true).use {
        check(it.classify(SENTENCE) == expected)
    }
    val padded = File(file.parentFile, "padded")
    padded.writeBytes(ByteArray(777) + file.readBytes() + ByteArray(9))
    RandomAccessFile(padded, "r").use { _ ->
        val number = descriptor(padded)
        Model.open(Bundle.inFile(number, 777, file.length())).use { model ->
            check(model.classify(SENTENCE) == expected)
        }
        thrown<BundleException> { Model.open(Bundle.inFile(number, 1, file.length())) }
        thrown<BundleException> { Model.open(Bundle.inFile(number, 777, file.length() + 99)) }
        thrown<ArgumentException> { Model.open(Bundle.inFile(number, -1, 5)) }
    }
    thrown<ArgumentException> { Model.open(Bundle.inFile(-1)) }
    thrown<BundleException> { Model.open(Bundle.inFile(1_000_000)) }
}

private suspend fun failures(model: Model, file: File) {
    val none = thrown<BundleException> { Model.open(Bundle.at(File("/nowhere/b.atb"))) }
    check(none.message!!.startsWith("there is no bundle at /nowhere/b.atb")) { none }
    val bytes = file.readBytes()
    for (length in bytes.indices step (bytes.size / 40)) {
        thrown<BundleException> { Model.open(Bundle.of(bytes.copyOf(length))) }
    }
    // What is no bundle any more is an exception; what still is one answers.
    for (at in bytes.indices step (bytes.size / 40)) {
        val changed = bytes.copyOf()
        changed[at] = (changed[at] + 1).toByte()
        try {
            Model.open(Bundle.of(changed)).use { it.classify(SENTENCE) }
        } catch (failure: AutotinybertException) {
            check(failure.message!!.isNotEmpty())
        }
    }
    val task = thrown<TaskException> { model.embed(SENTENCE) }
    check("embedding" in task.message!!) { task }
    check(model.classify(listOf<String>()).isEmpty())
    thrown<ArgumentException> { measure(Bundle.at(file), cores = listOf(-1)) }
    // Half of a surrogate pair is no text, and no crash.
    check(model.classify("\uD83D and \u0000").size == 3)
}

private suspend fun coroutines(file: File, expected: List<Label>) = runBlocking {
    val model = Model.open(Bundle.at(file))
    val many = List(50_000) { SENTENCE }
    // Any number of coroutines, and none of them holds up this thread.
    val calls = List(8) { async { model.classify(List(20) { SENTENCE }) } }
    check(calls.awaitAll().flatten().all { it == expected })
    val long = async { model.classify(many) }
    repeat(20) { delay(1) }
    check(!long.isCompleted)
    withTimeout(5_000) { long.cancelAndJoin() }
    check(long.isCancelled)
    thrown<CancellationException> { long.await() }
    check(model.classify(SENTENCE) == expected)
    // A model that is closed in a call finishes it.
    val last = async(Dispatchers.Default) { model.classify(List(2_000) { SENTENCE }) }
    delay(20)
    model.close()
    model.close()
    check(last.await().all { it == expected })
    val closed = thrown<ArgumentException> { model.classify(SENTENCE) }
    check(closed.message == "the model is closed") { closed }
}

private suspend fun spans(answers: File, tags: File) {
    val text = "\uD83D\uDE00 caf\u00E9 \uD83D\uDE80 closed in 1981"
    Model.open(Bundle.at(answers)).use { model ->
        check(model.tasks == setOf(Task.ANSWER))
        val found = model.answer("When?", text, 3)
        check(found.size == 3)
        check(found.all { text.substring(it.start, it.end) == it.text && it.text.isNotBlank() })
    }
    Model.open(Bundle.at(tags)).use { model ->
        check(model.tasks == setOf(Task.TAG))
        val found = model.tag(text)
        check(found.isNotEmpty())
        check(found.all { text.substring(it.start, it.end) == it.text && it.label in model.labels })
    }
}

/** Checks a bundle with three labels, one that answers, and one that labels words. */
fun main(arguments: Array<String>): Unit = runBlocking {
    val (labels, answers, tags) = arguments.map { File(it) }
    val model = Model.open(Bundle.at(labels))
    val expected = model.classify(SENTENCE)
    check(model.labels.size == 3 && model.maxTokens == 32 && model.embeddingSize == 0)
    check(expected.map { it.probability } == expected.map { it.probability }.sortedDescending())
    val pair = model.classifyPairs(listOf(SENTENCE to "It broke."))
    check(pair.single().size == 3 && pair.single() != expected)
    ways(labels, expected)
    failures(model, labels)
    coroutines(labels, expected)
    spans(answers, tags)
    val measured = measure(Bundle.at(labels), turns = 2, seconds = 0.05)
    check(measured.latencyMs > 0 && measured.record.trim().lines().size == 3) { measured }
    model.close()
    println("all checks passed")
}
