package autotinybert

import kotlin.coroutines.cancellation.CancellationException

/** The functions of the shared library. Texts are UTF-8, models and cancellations are numbers. */
internal object Native {
    init {
        System.loadLibrary("autotinybert_jni")
    }

    /** Opens the first of a path, bytes and a descriptor that is there. */
    @JvmStatic
    external fun open(
        path: ByteArray?,
        bytes: ByteArray?,
        descriptor: Int,
        offset: Long,
        length: Long,
        digests: Boolean,
    ): Long

    @JvmStatic
    external fun close(model: Long)

    /** Bits of tasks, size of an embedding, most tokens; then the score's range, if any. */
    @JvmStatic
    external fun facts(model: Long): DoubleArray

    @JvmStatic
    external fun labels(model: Long): Array<ByteArray>

    @JvmStatic
    external fun warmUp(model: Long, cancellation: Long)

    @JvmStatic
    external fun newCancellation(): Long

    @JvmStatic
    external fun cancel(cancellation: Long)

    @JvmStatic
    external fun forget(cancellation: Long)

    @JvmStatic
    external fun classify(
        model: Long,
        cancellation: Long,
        texts: Array<ByteArray>,
        seconds: Array<ByteArray>?,
    ): FloatArray

    @JvmStatic
    external fun score(
        model: Long,
        cancellation: Long,
        texts: Array<ByteArray>,
        seconds: Array<ByteArray>?,
    ): FloatArray

    @JvmStatic
    external fun embed(model: Long, cancellation: Long, texts: Array<ByteArray>): FloatArray

    /** Begin, end, probability and score of each answer. */
    @JvmStatic
    external fun answer(
        model: Long,
        cancellation: Long,
        question: ByteArray,
        text: ByteArray,
        count: Int,
    ): DoubleArray

    /** Begin, end, label and probability of each part. */
    @JvmStatic
    external fun tag(model: Long, cancellation: Long, text: ByteArray): DoubleArray

    @JvmStatic
    external fun measure(
        path: ByteArray?,
        bytes: ByteArray?,
        descriptor: Int,
        offset: Long,
        length: Long,
        turns: Int,
        seconds: Double,
        cores: IntArray,
        latencyMs: DoubleArray,
    ): ByteArray

    /** What the shared library throws for a failure of this kind. */
    @JvmStatic
    fun failure(kind: Int, message: ByteArray, help: ByteArray?): Throwable {
        val text = message.decodeToString()
        val hint = help?.decodeToString()
        return when (kind) {
            1 -> ArgumentException(text, hint)
            2 -> BundleException(text, hint)
            3 -> TaskException(text, hint)
            4 -> CancellationException(text)
            else -> RunException(text, hint)
        }
    }
}
