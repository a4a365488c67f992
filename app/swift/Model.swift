import CAutotinybert
import Foundation

/// A loaded bundle.
///
/// Functions that take time are asynchronous and run on threads of their own, so that they may be
/// called from the main actor. Any number of tasks may use one model at once; there is one copy of
/// the weights. The call of a task that is cancelled ends before the next run of the network, and
/// throws `CancellationError`.
public final class Model: @unchecked Sendable {
    // The library's models may be used by any number of threads at once.
    private let handle: OpaquePointer

    /// What the model gives; the other functions throw ``AutotinybertError``.
    public let tasks: Set<Task>
    /// The names of its labels, in the order of its outputs; empty if it has none to give.
    public let labels: [String]
    /// The least and the largest score that it gives, where the bundle says so.
    public let scoreRange: ClosedRange<Float>?
    /// Values of an embedding; zero if it gives none.
    public let embeddingSize: Int
    /// Most tokens of a text that count, special ones included; the rest of it is left out, but
    /// for ``answer(_:in:count:)`` and ``tag(_:)``.
    public let maxTokens: Int

    /// Opens the bundle at `url`, a folder or one file.
    ///
    /// - Parameter checkingDigests: Whether every part's digest is checked first. It costs the
    ///   time to read the bundle once more, and tells of a file that was damaged where its sizes
    ///   do not.
    /// - Throws: ``AutotinybertError`` naming what is wrong with the bundle.
    public convenience init(at url: URL, checkingDigests: Bool = false) async throws {
        let flags = checkingDigests ? UInt32(ATB_CHECK_DIGESTS) : 0
        let opened = try await inBackground { () throws -> Handle in
            var handle: OpaquePointer?
            try check { atb_model_open(url.path, flags, &handle, $0) }
            return Handle(pointer: handle!)
        }
        self.init(opened.pointer)
    }

    /// Opens a bundle in one file of which the bytes are at hand.
    ///
    /// - Throws: ``AutotinybertError`` naming what is wrong with the bundle.
    public convenience init(bytes: Data, checkingDigests: Bool = false) async throws {
        let flags = checkingDigests ? UInt32(ATB_CHECK_DIGESTS) : 0
        let opened = try await inBackground { () throws -> Handle in
            var handle: OpaquePointer?
            try bytes.withUnsafeBytes { buffer in
                try check {
                    atb_model_open_bytes(buffer.baseAddress, buffer.count, flags, &handle, $0)
                }
            }
            return Handle(pointer: handle!)
        }
        self.init(opened.pointer)
    }

    private init(_ handle: OpaquePointer) {
        self.handle = handle
        tasks = Set(Task.allCases.filter { atb_model_gives(handle, $0.rawValue) })
        labels = (0..<atb_model_label_count(handle)).map { number in
            atb_model_label(handle, number).map { String(cString: $0) } ?? ""
        }
        var (least, most): (Float, Float) = (0, 0)
        let ranged = atb_model_score_range(handle, &least, &most)
        scoreRange = ranged && least <= most ? least...most : nil
        embeddingSize = atb_model_embedding_size(handle)
        maxTokens = atb_model_sequence(handle)
    }

    deinit {
        atb_model_free(handle)
    }

    /// Runs a text as long as the model takes, so that the next call does not pay for what only
    /// the first does.
    public func warmUp() async throws {
        try await call { model, _ in try check { atb_model_warm_up(model, $0) } }
    }

    /// The labels of each text, the most probable first.
    public func classify(_ inputs: [Input]) async throws -> [[Label]] {
        let width = labels.count
        let values = try await rows(inputs, width: width) { model, firsts, seconds, values, cancellation, error in
            atb_classify(
                model, firsts, seconds, inputs.count, values, inputs.count * width, cancellation,
                error)
        }
        return values.map { row in
            let named = row.enumerated().map { index, value in
                Label(name: labels[index], index: index, probability: value)
            }
            return named.sorted { $0.probability > $1.probability }
        }
    }

    /// The labels of a text, the most probable first.
    public func classify(_ text: String) async throws -> [Label] {
        try await classify([.single(text)])[0]
    }

    /// The score of each text, within ``scoreRange`` where there is one.
    public func score(_ inputs: [Input]) async throws -> [Float] {
        let values = try await rows(inputs, width: 1) { model, firsts, seconds, values, cancellation, error in
            atb_score(
                model, firsts, seconds, inputs.count, values, inputs.count, cancellation, error)
        }
        return values.map { $0[0] }
    }

    /// The score of a text, within ``scoreRange`` where there is one.
    public func score(_ text: String) async throws -> Float {
        try await score([.single(text)])[0]
    }

    /// The embedding of each text: ``embeddingSize`` values.
    public func embed(_ texts: [String]) async throws -> [[Float]] {
        let width = embeddingSize
        return try await rows(texts.map(Input.single), width: width) { model, firsts, _, values, cancellation, error in
            atb_embed(
                model, firsts, texts.count, values, texts.count * width, cancellation, error)
        }
    }

    /// The embedding of a text: ``embeddingSize`` values.
    public func embed(_ text: String) async throws -> [Float] {
        try await embed([text])[0]
    }

    /// The parts of `text` that answer `question` best, at most `count`, the most probable first.
    /// A long text is read in windows that overlap.
    public func answer(_ question: String, in text: String, count: Int = 1) async throws -> [Answer] {
        let most = max(count, 0)
        let spans = try await call { model, cancellation -> [atb_answer_span] in
            var spans = [atb_answer_span](repeating: atb_answer_span(), count: most)
            var found = 0
            try check {
                atb_answer(model, question, text, &spans, most, &found, cancellation, $0)
            }
            return Array(spans.prefix(found))
        }
        return spans.compactMap { span in
            guard let part = part(of: text, span.start_byte, span.end_byte) else { return nil }
            return Answer(text: part, probability: span.probability, score: span.score)
        }
    }

    /// The labelled parts of `text`, in their order. A word has the label of its first token;
    /// neighbouring words of one label are one part, unless the later one's label begins with
    /// `B-`, and words labelled `O` are left out. A long text is read in windows that overlap.
    public func tag(_ text: String) async throws -> [Tag] {
        // There are no more parts than bytes.
        let most = text.utf8.count
        let spans = try await call { model, cancellation -> [atb_tag_span] in
            var spans = [atb_tag_span](repeating: atb_tag_span(), count: most)
            var found = 0
            try check { atb_tag(model, text, &spans, most, &found, cancellation, $0) }
            return Array(spans.prefix(found))
        }
        return spans.compactMap { span in
            guard let part = part(of: text, span.start_byte, span.end_byte) else { return nil }
            var label = labels[span.label]
            if label.hasPrefix("B-") || label.hasPrefix("I-") { label.removeFirst(2) }
            return Tag(text: part, label: label, probability: span.probability)
        }
    }

    /// A row of `width` values for each input.
    private func rows(
        _ inputs: [Input],
        width: Int,
        _ ask: @escaping @Sendable (
            OpaquePointer, UnsafePointer<UnsafePointer<CChar>?>?,
            UnsafePointer<UnsafePointer<CChar>?>?, UnsafeMutablePointer<Float>, OpaquePointer,
            UnsafeMutablePointer<OpaquePointer?>
        ) -> atb_status
    ) async throws -> [[Float]] {
        guard !inputs.isEmpty else { return [] }
        var (firsts, seconds): ([String], [String]) = ([], [])
        for input in inputs {
            switch input {
            case .single(let text): firsts.append(text)
            case .pair(let first, let second):
                firsts.append(first)
                seconds.append(second)
            }
        }
        guard seconds.isEmpty || seconds.count == firsts.count else {
            throw AutotinybertError(
                kind: .argument, message: "some of the inputs are pairs and some are not",
                help: nil)
        }
        let (texts, others) = (firsts, seconds)
        return try await call { model, cancellation in
            var values = [Float](repeating: 0, count: texts.count * width)
            try withTexts(texts) { texts in
                try withTexts(others) { others in
                    try values.withUnsafeMutableBufferPointer { values in
                        // An array of no values has no address.
                        var none: Float = 0
                        try withUnsafeMutablePointer(to: &none) { none in
                            let to = values.baseAddress ?? none
                            try check { error in
                                ask(model, texts, seconds.isEmpty ? nil : others, to, cancellation, error)
                            }
                        }
                    }
                }
            }
            return stride(from: 0, to: values.count, by: max(width, 1)).map {
                Array(values[$0..<($0 + width)])
            }
        }
    }

    /// Does `work` on a thread of its own, with a cancellation that is the task's.
    private func call<Value: Sendable>(
        _ work: @escaping @Sendable (OpaquePointer, OpaquePointer) throws -> Value
    ) async throws -> Value {
        let cancellation = Cancellation()
        return try await withTaskCancellationHandler {
            // The closure keeps the model until the call has ended.
            try await inBackground { try work(self.handle, cancellation.handle) }
        } onCancel: {
            cancellation.cancel()
        }
    }
}

/// What a model takes and gives.
extension Model {
    /// What a model can be asked for.
    public enum Task: UInt32, CaseIterable, Sendable {
        /// ``Model/classify(_:)``
        case classify = 0
        /// ``Model/score(_:)``
        case score = 1
        /// ``Model/embed(_:)``
        case embed = 2
        /// ``Model/answer(_:in:count:)``
        case answer = 3
        /// ``Model/tag(_:)``
        case tag = 4
    }

    /// A text, or a pair of two.
    public enum Input: Sendable, ExpressibleByStringLiteral {
        case single(String)
        case pair(String, String)

        public init(stringLiteral text: String) {
            self = .single(text)
        }
    }

    /// A label and how probable it is.
    public struct Label: Sendable, Hashable {
        /// Its name.
        public let name: String
        /// Its number among ``Model/labels``.
        public let index: Int
        /// How probable it is, from 0 to 1.
        public let probability: Float
    }

    /// A part of a text that answers a question.
    public struct Answer: Sendable, Hashable {
        /// The part of the text.
        public let text: Substring
        /// How probable it is among the answers that were found, from 0 to 1.
        public let probability: Float
        /// The sum of the logits of its begin and end, to compare answers from several texts by.
        public let score: Float

        /// Where it is in the text that was asked.
        public var range: Range<String.Index> { text.startIndex..<text.endIndex }
    }

    /// A part of a text, and its label.
    public struct Tag: Sendable, Hashable {
        /// The part of the text.
        public let text: Substring
        /// Its label, without the `B-` or `I-` that says whether a part begins or goes on.
        public let label: String
        /// How probable the label is, from 0 to 1.
        public let probability: Float

        /// Where it is in the text that was asked.
        public var range: Range<String.Index> { text.startIndex..<text.endIndex }
    }
}

/// A model on its way from one thread to another.
private struct Handle: @unchecked Sendable {
    let pointer: OpaquePointer
}

/// Ends the calls that were given it, from any thread.
private final class Cancellation: @unchecked Sendable {
    let handle = atb_cancellation_new()!

    func cancel() {
        atb_cancellation_cancel(handle)
    }

    deinit {
        atb_cancellation_free(handle)
    }
}

/// Does `work` on a thread that may be held up.
func inBackground<Value: Sendable>(
    _ work: @escaping @Sendable () throws -> Value
) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        DispatchQueue.global(qos: .userInitiated).async {
            continuation.resume(with: Result { try work() })
        }
    }
}

/// The part of a text between two places in bytes of UTF-8.
private func part(of text: String, _ start: Int, _ end: Int) -> Substring? {
    let bytes = text.utf8
    guard
        let from = bytes.index(bytes.startIndex, offsetBy: start, limitedBy: bytes.endIndex),
        let to = bytes.index(bytes.startIndex, offsetBy: end, limitedBy: bytes.endIndex),
        from <= to
    else { return nil }
    return text[from..<to]
}
