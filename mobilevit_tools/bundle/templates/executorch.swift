// {{ golden.model | one_line }}, ExecuTorch {{ golden.precision }}: does the app compute what PyTorch computed?
// Swift package: https://github.com/pytorch/executorch, branch swiftpm-{{ golden.tools["executorch"] }}; link {{ "backend_" ~ golden.backend ~ ", " if golden.backend != "portable" }}kernels_optimized{{ ", kernels_quantized" if "int8" in golden.precision }}
// Add this folder to the app as a folder reference, and call checkGolden with its URL.
import ExecuTorch
import Foundation

/// Runs the artifact on the stored input; throws where an output is not what is expected.
func checkGolden(in folder: URL) throws {
    let module = Module(filePath: folder.appendingPathComponent({{ golden.artifact.file | swift }}).path)
    let pixels = try readFloats(folder.appendingPathComponent({{ golden.input.file | swift }}))
    let outputs = try module.forward([Tensor<Float>(pixels, shape: [{{ golden.input.shape | join(", ") }}])])
    guard outputs.count == {{ golden.outputs | length }} else {
        throw GoldenError(message: "there are \(outputs.count) outputs, not {{ golden.outputs | length }}")
    }
{% for output in golden.outputs %}
    try compare(
        {{ output.name | swift }}, try valuesOf(outputs[{{ loop.index0 }}]),
        try readFloats(folder.appendingPathComponent({{ output.file | swift }})),
        maxAbs: {{ output.max_abs }}, l2: {{ output.l2 }})
{% endfor %}
}

private func valuesOf(_ value: Value) throws -> [Float] {
    guard let tensor: Tensor<Float> = value.tensor() else { throw GoldenError(message: "an output is no float tensor") }
    return tensor.scalars()
}

{% include "compare.swift" %}
