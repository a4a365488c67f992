package autotinybert

import android.content.res.AssetManager
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.withContext

/**
 * Opens the bundle in the asset [name]. It is mapped where it lies in the app's package: assets
 * whose names end in `.atb` must not be compressed (`androidResources { noCompress += "atb" }`).
 *
 * @throws java.io.IOException if there is no such asset, or it is compressed.
 * @throws BundleException naming what is wrong with it.
 */
public suspend fun Model.Companion.open(
    assets: AssetManager,
    name: String,
    checkDigests: Boolean = false,
    dispatcher: CoroutineDispatcher = Dispatchers.Default,
): Model = withContext(Dispatchers.IO) {
    assets.openFd(name).use { asset ->
        val (offset, length) = asset.startOffset to asset.length
        val bundle = Bundle.inFile(asset.parcelFileDescriptor.fd, offset, length)
        open(bundle, checkDigests, dispatcher)
    }
}

/**
 * Measures the bundle in the asset [name], as `measure(Bundle)` does.
 *
 * @throws java.io.IOException if there is no such asset, or it is compressed.
 */
public suspend fun measure(assets: AssetManager, name: String, turns: Int = 3): Measurement =
    withContext(Dispatchers.IO) {
        assets.openFd(name).use { asset ->
            val (offset, length) = asset.startOffset to asset.length
            measure(Bundle.inFile(asset.parcelFileDescriptor.fd, offset, length), turns)
        }
    }
