// {{ golden.model | one_line }}, ONNX {{ golden.precision }}: does the app compute what PyTorch computed?
// Gradle: implementation("com.microsoft.onnxruntime:onnxruntime-android:{{ golden.tools["onnxruntime"] }}")
// Copy the files of this folder to the device, and call checkGolden with the folder that they are in.
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import kotlin.math.abs
import kotlin.math.sqrt

/** Runs the artifact on the stored input; throws where an output is not what is expected. */
fun checkGolden(folder: File) {
    val environment = OrtEnvironment.getEnvironment()
    environment.createSession(File(folder, {{ golden.artifact.file | kotlin }}).path).use { session ->
        val pixels = FloatBuffer.wrap(readFloats(File(folder, {{ golden.input.file | kotlin }})))
        OnnxTensor.createTensor(environment, pixels, longArrayOf({{ golden.input.shape | join(", ") }})).use { input ->
            session.run(mapOf({{ golden.input.name | kotlin }} to input)).use { results ->
{% for output in golden.outputs %}
                compare(
                    {{ output.name | kotlin }},
                    valuesOf(results.get({{ output.name | kotlin }}).get() as OnnxTensor),
                    readFloats(File(folder, {{ output.file | kotlin }})),
                    {{ output.max_abs }},
                    {{ output.l2 }}
                )
{% endfor %}
            }
        }
    }
}

private fun valuesOf(tensor: OnnxTensor): FloatArray {
    val values = tensor.floatBuffer
    return FloatArray(values.remaining()).also { values.get(it) }
}

{% include "compare.kt" %}
