// {{ golden.model | one_line }}: the class of each pixel, of the scores for an image. Requires nothing but Kotlin.
// Call checkDecoder with this folder to check the code against the class map that is stored beside it.
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

private const val CLASSES = {{ golden.decoding.how.classes }}
private const val MAP_HEIGHT = {{ golden.decoding.how.map_size[0] }}
private const val MAP_WIDTH = {{ golden.decoding.how.map_size[1] }}
private const val HEIGHT = {{ golden.decoding.how.size[0] }}
private const val WIDTH = {{ golden.decoding.how.size[1] }}
private val LABELS = listOf<String>(
{% for label in golden.labels or () %}
    {{ label | kotlin }}{{ "," if not loop.last }}
{% endfor %}
)
private val COLORS = intArrayOf(
{% for red, green, blue in golden.decoding.how.colours %}
    0x{{ "%02x%02x%02x" | format(red, green, blue) }}{{ "," if not loop.last }}
{% endfor %}
)

/** A class of a class map, the share of the pixels that have it, and its color, 0xRRGGBB. */
class ClassShare(val index: Int, val label: String, val share: Double, val color: Int)

/** Where a place of the resized map lies: between two of the map, and how near to the second. */
private class Between(val first: Int, val second: Int, val nearness: Float)

private fun between(size: Int, target: Int): List<Between> = List(target) {
    val place = maxOf((it + 0.5f) * (size.toDouble() / target).toFloat() - 0.5f, 0f)
    val first = place.toInt()
    Between(first, minOf(first + 1, size - 1), place - first)
}

/** The class of each pixel of the model's input, row by row: scores are resized, then the largest is taken. */
fun decode(scores: FloatArray): IntArray {
    require(scores.size == CLASSES * MAP_HEIGHT * MAP_WIDTH) { "there are ${scores.size} scores" }
    val rows = between(MAP_HEIGHT, HEIGHT)
    val columns = between(MAP_WIDTH, WIDTH)
    val best = IntArray(HEIGHT * WIDTH)
    val largest = FloatArray(HEIGHT * WIDTH) { Float.NEGATIVE_INFINITY }
    for (index in 0 until CLASSES) {
        val start = index * MAP_HEIGHT * MAP_WIDTH
        for ((y, row) in rows.withIndex()) {
            val above = start + row.first * MAP_WIDTH
            val below = start + row.second * MAP_WIDTH
            for ((x, column) in columns.withIndex()) {
                val upper = scores[above + column.first] * (1 - column.nearness) + scores[above + column.second] * column.nearness
                val lower = scores[below + column.first] * (1 - column.nearness) + scores[below + column.second] * column.nearness
                val score = upper * (1 - row.nearness) + lower * row.nearness
                if (score > largest[y * WIDTH + x]) {
                    largest[y * WIDTH + x] = score
                    best[y * WIDTH + x] = index
                }
            }
        }
    }
    return best
}

/** The classes of a class map, the most frequent first. */
fun legend(classes: IntArray): List<ClassShare> {
    val counts = IntArray(CLASSES)
    classes.forEach { counts[it]++ }
    return counts.indices.filter { counts[it] > 0 }.sortedByDescending { counts[it] }.map {
        ClassShare(it, LABELS.getOrElse(it) { index -> index.toString() }, counts[it].toDouble() / classes.size, COLORS[it])
    }
}

/** Decodes the expected scores in a folder and compares with the stored class map; throws where they differ. */
fun checkDecoder(folder: File) {
    val stored = stored(File(folder, {{ golden.outputs[0].file | kotlin }})).asFloatBuffer()
    val scores = FloatArray(CLASSES * MAP_HEIGHT * MAP_WIDTH).also { stored.get(it) }
    val expected = stored(File(folder, {{ golden.decoding.file | kotlin }})).asIntBuffer()
    val found = decode(scores)
    check(expected.remaining() == found.size) { "there are ${found.size} pixels, not ${expected.remaining()}" }
    val wrong = found.indices.count { found[it] != expected.get(it) }
    // Where two classes are equally likely, rounding decides.
    check(wrong * 1000L <= found.size) { "$wrong of ${found.size} pixels have another class" }
}

private fun stored(file: File): ByteBuffer = ByteBuffer.wrap(file.readBytes()).order(ByteOrder.LITTLE_ENDIAN)
