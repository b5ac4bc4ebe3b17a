// {{ golden.model | one_line }}: the class of each pixel, of the scores for an image. Requires Foundation only.
// Call checkDecoder with the URL of this folder to check the code against the class map that is stored beside it.
import Foundation

private let classCount = {{ golden.decoding.how.classes }}
private let (mapHeight, mapWidth) = ({{ golden.decoding.how.map_size[0] }}, {{ golden.decoding.how.map_size[1] }})
private let (height, width) = ({{ golden.decoding.how.size[0] }}, {{ golden.decoding.how.size[1] }})
private let labelNames: [String] = [
{% for label in golden.labels or () %}
    {{ label | swift }},
{% endfor %}
]
private let colors: [UInt32] = [
{% for red, green, blue in golden.decoding.how.colours %}
    0x{{ "%02x%02x%02x" | format(red, green, blue) }},
{% endfor %}
]

struct DecoderError: Error {
    let message: String
}

/// A class of a class map, the share of the pixels that have it, and its color, 0xRRGGBB.
struct ClassShare {
    let index: Int
    let label: String
    let share: Double
    let color: UInt32
}

/// The class of each pixel of the model's input, row by row: scores are resized, then the largest is taken.
func decode(scores: [Float]) throws -> [Int32] {
    guard scores.count == classCount * mapHeight * mapWidth else {
        throw DecoderError(message: "there are \(scores.count) scores")
    }
    let (rows, columns) = (between(mapHeight, height), between(mapWidth, width))
    var best = [Int32](repeating: 0, count: height * width)
    var largest = [Float](repeating: -.infinity, count: height * width)
    for index in 0..<classCount {
        let start = index * mapHeight * mapWidth
        for (y, row) in rows.enumerated() {
            let (above, below) = (start + row.first * mapWidth, start + row.second * mapWidth)
            for (x, column) in columns.enumerated() {
                let far = 1 - column.nearness
                let upper = scores[above + column.first] * far + scores[above + column.second] * column.nearness
                let lower = scores[below + column.first] * far + scores[below + column.second] * column.nearness
                let score = upper * (1 - row.nearness) + lower * row.nearness
                if score > largest[y * width + x] {
                    largest[y * width + x] = score
                    best[y * width + x] = Int32(index)
                }
            }
        }
    }
    return best
}

/// Where each of `target` places lies: between two of `size`, and how near to the second.
private func between(_ size: Int, _ target: Int) -> [(first: Int, second: Int, nearness: Float)] {
    return (0..<target).map { index in
        let place = max((Float(index) + 0.5) * Float(Double(size) / Double(target)) - 0.5, 0)
        let first = Int(place)
        return (first, min(first + 1, size - 1), place - Float(first))
    }
}

/// The classes of a class map, the most frequent first.
func legend(_ classes: [Int32]) -> [ClassShare] {
    var counts = [Int](repeating: 0, count: classCount)
    classes.forEach { counts[Int($0)] += 1 }
    let order = counts.indices.filter { counts[$0] > 0 }
        .sorted { counts[$0] == counts[$1] ? $0 < $1 : counts[$0] > counts[$1] }
    return order.map {
        ClassShare(
            index: $0, label: $0 < labelNames.count ? labelNames[$0] : String($0),
            share: Double(counts[$0]) / Double(classes.count), color: colors[$0])
    }
}

/// Decodes the expected scores in a folder and compares with the stored class map; throws where they differ.
func checkDecoder(in folder: URL) throws {
    let scores = try stored(folder.appendingPathComponent({{ golden.outputs[0].file | swift }}), of: Float(0))
    let expected = try stored(folder.appendingPathComponent({{ golden.decoding.file | swift }}), of: Int32(0))
    let found = try decode(scores: Array(scores.prefix(classCount * mapHeight * mapWidth)))
    guard found.count == expected.count else {
        throw DecoderError(message: "there are \(found.count) pixels, not \(expected.count)")
    }
    let wrong = zip(found, expected).filter { $0 != $1 }.count
    // Where two classes are equally likely, rounding decides.
    guard wrong * 1000 <= found.count else {
        throw DecoderError(message: "\(wrong) of \(found.count) pixels have another class")
    }
}

private func stored<Value>(_ file: URL, of zero: Value) throws -> [Value] {
    let data = try Data(contentsOf: file)
    var values = [Value](repeating: zero, count: data.count / MemoryLayout<Value>.size)
    _ = values.withUnsafeMutableBytes { data.copyBytes(to: $0) }
    return values
}
