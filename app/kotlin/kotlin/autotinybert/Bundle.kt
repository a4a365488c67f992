package autotinybert

import java.io.File

/** Where a bundle is. Nothing is read before [Model.open] or [measure]. */
public class Bundle private constructor(
    internal val path: ByteArray?,
    internal val bytes: ByteArray?,
    internal val descriptor: Int,
    internal val offset: Long,
    internal val length: Long,
) {
    public companion object {
        /** A bundle in a folder or in one file, as `atb export` writes it. */
        public fun at(path: File): Bundle = Bundle(path.path.encodeToByteArray(), null, -1, 0, -1)

        /** A bundle in one file of which the bytes are at hand. They are copied when it is read. */
        public fun of(bytes: ByteArray): Bundle = Bundle(null, bytes, -1, 0, -1)

        /**
         * A bundle in one file that is [length] bytes of an open file from [offset] on, or all
         * that follow where [length] is negative. It is mapped and not copied. The file stays
         * yours: close it when what reads the bundle has returned.
         *
         * On Android, `Model.open(assets, name)` does this for an asset.
         */
        public fun inFile(descriptor: Int, offset: Long = 0, length: Long = -1): Bundle =
            Bundle(null, null, descriptor, offset, length)
    }
}
