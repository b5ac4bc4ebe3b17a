// {{ golden.model | one_line }}: what the boxes and scores of an image detect. Requires nothing but Kotlin.
// Call checkDecoder with this folder to check the code against the detections that are stored beside it.
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs

private const val BOXES = {{ golden.decoding.how.boxes }}
private const val CLASSES = {{ golden.decoding.how.classes }}
private const val LEAST_SCORE = {{ golden.decoding.how.least_score }}
private const val MOST_OVERLAP = {{ golden.decoding.how.most_overlap }}
private const val CANDIDATES = {{ golden.decoding.how.candidates }}
private const val MOST = {{ golden.decoding.how.most }}
private const val HEIGHT = {{ golden.preprocessing.input_size[0] }}.0
private const val WIDTH = {{ golden.preprocessing.input_size[1] }}.0
private val CROP: Double? = {{ "null" if golden.preprocessing.crop_fraction is none else golden.preprocessing.crop_fraction | float }}
private val LABELS = listOf<String>(
{% for label in golden.labels or () %}
    {{ label | kotlin }}{{ "," if not loop.last }}
{% endfor %}
)

/** One thing that was found: corners in pixels of the model's input, a score from 0 to 1, and the class. */
class Detection(
    val left: Double,
    val top: Double,
    val right: Double,
    val bottom: Double,
    val score: Double,
    val index: Int
) {
    val label: String get() = LABELS.getOrElse(index) { index.toString() }

    private val area: Double get() = maxOf(right - left, 0.0) * maxOf(bottom - top, 0.0)

    /** The intersection over union with another box. */
    fun overlap(other: Detection): Double {
        val width = minOf(right, other.right) - maxOf(left, other.left)
        val height = minOf(bottom, other.bottom) - maxOf(top, other.top)
        val both = maxOf(width, 0.0) * maxOf(height, 0.0)
        val union = area + other.area - both
        return if (union > 0) both / union else 0.0
    }

    /** The same with its corners in pixels of the photo that the input was made of. */
    fun inPhoto(width: Int, height: Int): Detection {
        var keptWidth = width.toDouble()
        var keptHeight = height.toDouble()
        if (CROP != null) {
            val scale = maxOf(HEIGHT / height, WIDTH / width) / CROP
            keptWidth = minOf(WIDTH / scale, keptWidth)
            keptHeight = minOf(HEIGHT / scale, keptHeight)
        }
        val x = { value: Double -> (value * (keptWidth / WIDTH) + (width - keptWidth) / 2).coerceIn(0.0, width.toDouble()) }
        val y = { value: Double -> (value * (keptHeight / HEIGHT) + (height - keptHeight) / 2).coerceIn(0.0, height.toDouble()) }
        return Detection(x(left), y(top), x(right), y(bottom), score, index)
    }
}

/** Keeps the best box of each thing, class by class, of the outputs for one image; the best score comes first. */
fun decode(boxes: FloatArray, scores: FloatArray, leastScore: Double = LEAST_SCORE): List<Detection> {
    require(boxes.size == 4 * BOXES && scores.size == BOXES * CLASSES) {
        "there are ${boxes.size} and ${scores.size} values, not ${4 * BOXES} and ${BOXES * CLASSES}"
    }
    val ranked = scores.indices.filter { scores[it].toDouble() > leastScore }.sortedByDescending { scores[it] }
    val kept = ArrayList<Detection>()
    for (place in ranked.take(CANDIDATES)) {
        val first = 4 * (place / CLASSES)
        val corners = DoubleArray(4) { boxes[first + it].toDouble() }
        val found = Detection(
            corners[0], corners[1], corners[2], corners[3], scores[place].toDouble(), place % CLASSES
        )
        if (kept.any { it.index == found.index && it.overlap(found) > MOST_OVERLAP }) continue
        kept.add(found)
        if (kept.size == MOST) break
    }
    return kept
}

/** Decodes the expected outputs in a folder and compares with the stored detections; throws where they differ. */
fun checkDecoder(folder: File) {
    val boxes = storedFloats(File(folder, {{ golden.outputs[0].file | kotlin }})).copyOf(4 * BOXES)
    val scores = storedFloats(File(folder, {{ golden.outputs[1].file | kotlin }})).copyOf(BOXES * CLASSES)
    val expected = storedFloats(File(folder, {{ golden.decoding.file | kotlin }}))
    val found = decode(boxes, scores, {{ golden.decoding.how.checked_above }})
    check(6 * found.size == expected.size) { "there are ${found.size} detections, not ${expected.size / 6}" }
    found.forEachIndexed { row, each ->
        val values = DoubleArray(6) { expected[6 * row + it].toDouble() }
        val right = Detection(values[0], values[1], values[2], values[3], values[4], values[5].toInt())
        val equal = each.left == right.left && each.top == right.top && each.right == right.right && each.bottom == right.bottom
        check(
            (equal || each.overlap(right) >= 0.999) && abs(each.score - right.score) <= 1e-6 && each.index == right.index
        ) { "detection $row is not the stored one" }
    }
}

private fun storedFloats(file: File): FloatArray {
    val values = ByteBuffer.wrap(file.readBytes()).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
    return FloatArray(values.remaining()).also { values.get(it) }
}
