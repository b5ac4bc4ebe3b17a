// {{ golden.model | one_line }}, Core ML {{ golden.precision }}: does the app compute what PyTorch computed?
// Add this folder to the app as a folder reference (Xcode must not compile the package), and call checkGolden with its URL.
import CoreML
{% if golden.input.dtype == "uint8" %}
import CoreVideo
{% endif %}
import Foundation

/// Runs the artifact on the stored input; throws where an output is not what is expected.
func checkGolden(in folder: URL) throws {
    let package = folder.appendingPathComponent({{ golden.artifact.file | swift }})
    let model = try MLModel(contentsOf: try MLModel.compileModel(at: package))
    let stored = folder.appendingPathComponent({{ golden.input.file | swift }})
{% if golden.input.dtype == "uint8" %}
    let input = MLFeatureValue(pixelBuffer: try pixelBuffer(stored, height: {{ golden.input.shape[0] }}, width: {{ golden.input.shape[1] }}))
{% else %}
    let array = try MLMultiArray(shape: [{{ golden.input.shape | join(", ") }}], dataType: .float32)
    for (index, value) in try readFloats(stored).enumerated() {
        array[index] = NSNumber(value: value)
    }
    let input = MLFeatureValue(multiArray: array)
{% endif %}
    let features = try MLDictionaryFeatureProvider(dictionary: [{{ golden.input.name | swift }}: input])
    let results = try model.prediction(from: features)
{% for output in golden.outputs %}
    try compare(
{% if output.by_label %}
        {{ output.name | swift }}, try probabilitiesOf({{ output.name | swift }}, in: results, by: labels),
{% else %}
        {{ output.name | swift }}, try valuesOf({{ output.name | swift }}, in: results),
{% endif %}
        try readFloats(folder.appendingPathComponent({{ output.file | swift }})),
        maxAbs: {{ output.max_abs }}, l2: {{ output.l2 }})
{% endfor %}
}

{% if golden.outputs[0].by_label %}
private let labels = [
{% for label in golden.labels %}
    {{ label | swift }},
{% endfor %}
]

private func probabilitiesOf(_ name: String, in results: MLFeatureProvider, by labels: [String]) throws -> [Float] {
    let probabilities = results.featureValue(for: name)?.dictionaryValue ?? [:]
    return try labels.map { label in
        guard let value = probabilities[label] else { throw GoldenError(message: "\(name) has no class \(label)") }
        return value.floatValue
    }
}
{% else %}
private func valuesOf(_ name: String, in results: MLFeatureProvider) throws -> [Float] {
    guard let array = results.featureValue(for: name)?.multiArrayValue else {
        throw GoldenError(message: "there is no output \(name)")
    }
    return (0..<array.count).map { array[$0].floatValue }
}
{% endif %}
{% if golden.input.dtype == "uint8" %}

private func pixelBuffer(_ file: URL, height: Int, width: Int) throws -> CVPixelBuffer {
    let pixels = try Data(contentsOf: file)
    var made: CVPixelBuffer?
    CVPixelBufferCreate(kCFAllocatorDefault, width, height, kCVPixelFormatType_32BGRA, nil, &made)
    guard let buffer = made, pixels.count == height * width * 4 else {
        throw GoldenError(message: "there is no pixel buffer of \(width) x \(height)")
    }
    CVPixelBufferLockBaseAddress(buffer, [])
    defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
    guard let start = CVPixelBufferGetBaseAddress(buffer) else { throw GoldenError(message: "the buffer is empty") }
    let stride = CVPixelBufferGetBytesPerRow(buffer)
    pixels.withUnsafeBytes { source in
        for row in 0..<height {
            let line = UnsafeRawBufferPointer(rebasing: source[(row * width * 4)..<((row + 1) * width * 4)])
            UnsafeMutableRawBufferPointer(start: start + row * stride, count: width * 4).copyMemory(from: line)
        }
    }
    return buffer
}
{% endif %}

{% include "compare.swift" %}
