import CAutotinybert
import Foundation

/// Why a bundle gives no answer.
public struct AutotinybertError: LocalizedError, Sendable {
    /// What kind of failure it is.
    public enum Kind: Sendable {
        /// An argument is of no use.
        case argument
        /// The bundle is missing, damaged, of a newer version, or none.
        case bundle
        /// The model does not give what it was asked for; see ``Model/tasks``.
        case task
        /// The model failed to run, or could not be measured.
        case failed
    }

    /// What kind of failure it is.
    public let kind: Kind
    /// What is wrong, and where.
    public let message: String
    /// What to do about it, where something is known.
    public let help: String?

    public var errorDescription: String? { message }
    public var recoverySuggestion: String? { help }
}

/// Calls a function of the library, and throws its failure.
func check(
    _ call: (UnsafeMutablePointer<OpaquePointer?>) -> atb_status
) throws {
    var error: OpaquePointer?
    let status = call(&error)
    guard status != ATB_STATUS_OK else { return }
    defer { atb_error_free(error) }
    let message = atb_error_message(error).map { String(cString: $0) } ?? "no message"
    let help = atb_error_help(error).map { String(cString: $0) }
    let kind: AutotinybertError.Kind
    switch status {
    case ATB_STATUS_CANCELLED: throw CancellationError()
    case ATB_STATUS_ARGUMENT, ATB_STATUS_CAPACITY: kind = .argument
    case ATB_STATUS_BUNDLE: kind = .bundle
    case ATB_STATUS_TASK: kind = .task
    default: kind = .failed
    }
    throw AutotinybertError(kind: kind, message: message, help: help)
}

/// Calls `body` with the texts as C has them.
func withTexts<Result>(
    _ texts: [String],
    _ body: (UnsafePointer<UnsafePointer<CChar>?>?) throws -> Result
) rethrows -> Result {
    let copies = texts.map { strdup($0) }
    defer { copies.forEach { free($0) } }
    let pointers = copies.map { copy in copy.map { UnsafePointer($0) } }
    return try pointers.withUnsafeBufferPointer { try body($0.baseAddress) }
}
