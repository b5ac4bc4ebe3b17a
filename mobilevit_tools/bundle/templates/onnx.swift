// {{ golden.model | one_line }}, ONNX {{ golden.precision }}: does the app compute what PyTorch computed?
// Swift package: https://github.com/microsoft/onnxruntime-swift-package-manager (verified here with ONNX Runtime {{ golden.tools["onnxruntime"] }})
// Add this folder to the app as a folder reference, and call checkGolden with its URL.
import Foundation
import OnnxRuntimeBindings

/// Runs the artifact on the stored input; throws where an output is not what is expected.
func checkGolden(in folder: URL) throws {
    let environment = try ORTEnv(loggingLevel: ORTLoggingLevel.warning)
    let path = folder.appendingPathComponent({{ golden.artifact.file | swift }}).path
    let session = try ORTSession(env: environment, modelPath: path, sessionOptions: nil)
    let pixels = try Data(contentsOf: folder.appendingPathComponent({{ golden.input.file | swift }}))
    let input = try ORTValue(
        tensorData: NSMutableData(data: pixels), elementType: ORTTensorElementDataType.float,
        shape: [{{ golden.input.shape | join(", ") }}])
    let outputs = try session.run(
        withInputs: [{{ golden.input.name | swift }}: input],
        outputNames: [{% for output in golden.outputs %}{{ output.name | swift }}{{ ", " if not loop.last }}{% endfor %}], runOptions: nil)
{% for output in golden.outputs %}
    try compare(
        {{ output.name | swift }}, floats(Data(referencing: try valueOf({{ output.name | swift }}, in: outputs).tensorData())),
        try readFloats(folder.appendingPathComponent({{ output.file | swift }})),
        maxAbs: {{ output.max_abs }}, l2: {{ output.l2 }})
{% endfor %}
}

private func valueOf(_ name: String, in outputs: [String: ORTValue]) throws -> ORTValue {
    guard let value = outputs[name] else { throw GoldenError(message: "there is no output \(name)") }
    return value
}

{% include "compare.swift" %}
