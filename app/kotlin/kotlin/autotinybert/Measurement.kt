package autotinybert

import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.withContext

/**
 * A bundle's latency on this device.
 *
 * @property latencyMs the latency in milliseconds, as `atb bench` gives it.
 * @property record the measurement file, which `atb bench --compare` reads.
 */
public data class Measurement(val latencyMs: Double, val record: String)

/**
 * Measures [bundle] on this device, by the protocol of `atb bench`, on a thread of its own. It
 * takes some seconds to half a minute and cannot be cancelled midway. Measure while the app is as
 * busy as it is when it asks the model, in a build as it ships, and with the app on the screen:
 * Android keeps what is not from the fast cores.
 *
 * @param turns how often; the latency is the median of all.
 * @param seconds most seconds of each turn, or zero for what `atb bench` takes.
 * @param cores logical cores that the measuring thread is pinned to; none leaves it to the system.
 * @throws BundleException if the bundle cannot be read.
 * @throws RunException if it cannot be measured.
 */
public suspend fun measure(
    bundle: Bundle,
    turns: Int = 3,
    seconds: Double = 0.0,
    cores: List<Int> = emptyList(),
    dispatcher: CoroutineDispatcher = Dispatchers.IO,
): Measurement = withContext(dispatcher) {
    val latency = DoubleArray(1)
    val record = with(bundle) {
        Native.measure(
            path, bytes, descriptor, offset, length, turns, seconds, cores.toIntArray(), latency,
        )
    }
    Measurement(latency[0], record.decodeToString())
}
