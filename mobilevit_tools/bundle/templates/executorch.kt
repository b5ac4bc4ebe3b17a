// {{ golden.model | one_line }}, ExecuTorch {{ golden.precision }}: does the app compute what PyTorch computed?
// Gradle: implementation("org.pytorch:executorch-android{{ "-vulkan" if golden.backend == "vulkan" }}:{{ golden.tools["executorch"] }}")
// Copy the files of this folder to the device, and call checkGolden with the folder that they are in.
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import kotlin.math.sqrt
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor

/** Runs the artifact on the stored input; throws where an output is not what is expected. */
fun checkGolden(folder: File) {
    val module = Module.load(File(folder, {{ golden.artifact.file | kotlin }}).path)
    val pixels = readFloats(File(folder, {{ golden.input.file | kotlin }}))
    val outputs = module.forward(EValue.from(Tensor.fromBlob(pixels, longArrayOf({{ golden.input.shape | join(", ") }}))))
{% for output in golden.outputs %}
    compare(
        {{ output.name | kotlin }},
        outputs[{{ loop.index0 }}].toTensor().dataAsFloatArray,
        readFloats(File(folder, {{ output.file | kotlin }})),
        {{ output.max_abs }},
        {{ output.l2 }}
    )
{% endfor %}
    module.destroy()
}

{% include "compare.kt" %}
