private fun readFloats(file: File): FloatArray {
    val values = ByteBuffer.wrap(file.readBytes()).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
    return FloatArray(values.remaining()).also { values.get(it) }
}

private fun compare(name: String, actual: FloatArray, expected: FloatArray, maxAbs: Double, l2: Double) {
    check(actual.size == expected.size) { "$name has ${actual.size} values, not ${expected.size}" }
    var largest = 0.0
    var squares = 0.0
    for (index in expected.indices) {
        val difference = abs(actual[index].toDouble() - expected[index].toDouble())
        largest = maxOf(largest, difference)
        squares += difference * difference
    }
    // A value that is not a number makes both comparisons false.
    check(largest <= maxAbs && sqrt(squares) <= l2) {
        "$name is off by up to $largest (allowed: $maxAbs), ${sqrt(squares)} together (allowed: $l2)"
    }
}
