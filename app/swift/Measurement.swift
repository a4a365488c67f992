import CAutotinybert
import Foundation

extension Model {
    /// A bundle's latency on this device.
    public struct Latency: Sendable {
        /// The latency in milliseconds, as `atb bench` gives it.
        public let milliseconds: Double
        /// The measurement file, which `atb bench --compare` reads.
        public let record: String
    }

    /// Measures the bundle at `url` on this device, by the protocol of `atb bench`, on a thread of
    /// its own.
    ///
    /// It takes some seconds to half a minute and cannot be ended midway. Measure a release build,
    /// while the app is as busy as it is when it asks the model.
    ///
    /// - Parameter seconds: The most that each of three turns takes, or zero for what `atb bench`
    ///   takes.
    /// - Throws: ``AutotinybertError`` if the bundle cannot be read or measured.
    public static func measure(_ url: URL, seconds: Double = 0) async throws -> Latency {
        try await inBackground {
            var latency = 0.0
            var record: UnsafeMutablePointer<CChar>?
            try check { atb_measure(url.path, seconds, &latency, &record, $0) }
            defer { atb_string_free(record) }
            let text = record.map { String(cString: $0) } ?? ""
            return Latency(milliseconds: latency, record: text)
        }
    }
}
