import Autotinybert
import Foundation

// Asks the bundle what it gives for each argument, or measures it with `--measure`.

let texts = Array(CommandLine.arguments.dropFirst())
guard !texts.isEmpty, let url = Bundle.module.url(forResource: "bundle", withExtension: "atb") else {
    print("usage: Demo TEXT... | --measure")
    exit(2)
}

func decimal(_ value: Float) -> String { String(format: "%.4f", value) }

do {
    if texts == ["--measure"] {
        print(try await Model.measure(url).record, terminator: "")
        exit(0)
    }
    let model = try await Model(at: url, checkingDigests: true)
    try await model.warmUp()
    if model.tasks.contains(.classify) {
        for (text, labels) in zip(texts, try await model.classify(texts.map(Model.Input.single))) {
            print(text)
            for label in labels { print("  \(label.name) \(decimal(label.probability))") }
        }
    }
    if model.tasks.contains(.score) {
        for (text, score) in zip(texts, try await model.score(texts.map(Model.Input.single))) {
            print("\(text)\n  \(decimal(score))")
        }
    }
    if model.tasks.contains(.embed) {
        for (text, vector) in zip(texts, try await model.embed(texts)) {
            print("\(text)\n  \(vector.count) values, the first \(decimal(vector[0]))")
        }
    }
    if model.tasks.contains(.tag) {
        for text in texts {
            print(text)
            for tag in try await model.tag(text) {
                print("  \(tag.text) \(tag.label) \(decimal(tag.probability))")
            }
        }
    }
    if model.tasks.contains(.answer), texts.count == 2 {
        for answer in try await model.answer(texts[0], in: texts[1], count: 3) {
            print("\(answer.text) \(decimal(answer.probability))")
        }
    }
} catch let error as AutotinybertError {
    print("error: \(error.message)")
    if let help = error.help { print("hint: \(help)") }
    exit(1)
}
