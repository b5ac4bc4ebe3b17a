// {{ golden.model | one_line }}: what the boxes and scores of an image detect. Requires Foundation only.
// Call checkDecoder with the URL of this folder to check the code against the detections that are stored beside it.
import Foundation

private let boxCount = {{ golden.decoding.how.boxes }}
private let classCount = {{ golden.decoding.how.classes }}
private let mostOverlap = {{ golden.decoding.how.most_overlap }}
private let candidates = {{ golden.decoding.how.candidates }}
private let most = {{ golden.decoding.how.most }}
private let inputHeight = {{ golden.preprocessing.input_size[0] }}.0
private let inputWidth = {{ golden.preprocessing.input_size[1] }}.0
private let crop: Double? = {{ "nil" if golden.preprocessing.crop_fraction is none else golden.preprocessing.crop_fraction | float }}
private let labelNames: [String] = [
{% for label in golden.labels or () %}
    {{ label | swift }},
{% endfor %}
]

struct DecoderError: Error {
    let message: String
}

/// One thing that was found: corners in pixels of the model's input, a score from 0 to 1, and the class.
struct Detection {
    let left, top, right, bottom, score: Double
    let index: Int

    var label: String { return index < labelNames.count ? labelNames[index] : String(index) }

    private var area: Double { return max(right - left, 0) * max(bottom - top, 0) }

    /// The intersection over union with another box.
    func overlap(_ other: Detection) -> Double {
        let width = min(right, other.right) - max(left, other.left)
        let height = min(bottom, other.bottom) - max(top, other.top)
        let both = max(width, 0) * max(height, 0)
        let union = area + other.area - both
        return union > 0 ? both / union : 0
    }

    /// The same with its corners in pixels of the photo that the input was made of.
    func inPhoto(width: Int, height: Int) -> Detection {
        let (photoWidth, photoHeight) = (Double(width), Double(height))
        var (keptWidth, keptHeight) = (photoWidth, photoHeight)
        if let crop = crop {
            let scale = max(inputHeight / photoHeight, inputWidth / photoWidth) / crop
            keptWidth = min(inputWidth / scale, photoWidth)
            keptHeight = min(inputHeight / scale, photoHeight)
        }
        func x(_ value: Double) -> Double {
            return min(max(value * (keptWidth / inputWidth) + (photoWidth - keptWidth) / 2, 0), photoWidth)
        }
        func y(_ value: Double) -> Double {
            return min(max(value * (keptHeight / inputHeight) + (photoHeight - keptHeight) / 2, 0), photoHeight)
        }
        return Detection(left: x(left), top: y(top), right: x(right), bottom: y(bottom), score: score, index: index)
    }
}

/// Keeps the best box of each thing, class by class, of the outputs for one image; the best score comes first.
func decode(boxes: [Float], scores: [Float], leastScore: Double = {{ golden.decoding.how.least_score }}) throws -> [Detection] {
    guard boxes.count == 4 * boxCount, scores.count == boxCount * classCount else {
        throw DecoderError(message: "there are \(boxes.count) and \(scores.count) values")
    }
    let ranked = scores.indices.filter { Double(scores[$0]) > leastScore }
        .sorted { scores[$0] == scores[$1] ? $0 < $1 : scores[$0] > scores[$1] }
    var kept: [Detection] = []
    for place in ranked.prefix(candidates) {
        let corners = boxes[(4 * (place / classCount))...].prefix(4).map { Double($0) }
        let found = Detection(
            left: corners[0], top: corners[1], right: corners[2], bottom: corners[3], score: Double(scores[place]),
            index: place % classCount)
        if kept.contains(where: { $0.index == found.index && $0.overlap(found) > mostOverlap }) { continue }
        kept.append(found)
        if kept.count == most { break }
    }
    return kept
}

/// Decodes the expected outputs in a folder and compares with the stored detections; throws where they differ.
func checkDecoder(in folder: URL) throws {
    let boxes = try storedFloats(folder.appendingPathComponent({{ golden.outputs[0].file | swift }}))
    let scores = try storedFloats(folder.appendingPathComponent({{ golden.outputs[1].file | swift }}))
    let expected = try storedFloats(folder.appendingPathComponent({{ golden.decoding.file | swift }})).map { Double($0) }
    let found = try decode(
        boxes: Array(boxes.prefix(4 * boxCount)), scores: Array(scores.prefix(boxCount * classCount)),
        leastScore: {{ golden.decoding.how.checked_above }})
    guard 6 * found.count == expected.count else {
        throw DecoderError(message: "there are \(found.count) detections, not \(expected.count / 6)")
    }
    for (row, each) in found.enumerated() {
        let values = Array(expected[(6 * row)..<(6 * row + 6)])
        let right = Detection(
            left: values[0], top: values[1], right: values[2], bottom: values[3], score: values[4],
            index: Int(values[5]))
        let equal = [each.left, each.top, each.right, each.bottom] == Array(values[..<4])
        guard equal || each.overlap(right) >= 0.999, abs(each.score - right.score) <= 1e-6, each.index == right.index
        else {
            throw DecoderError(message: "detection \(row) is not the stored one")
        }
    }
}

private func storedFloats(_ file: URL) throws -> [Float] {
    let data = try Data(contentsOf: file)
    var values = [Float](repeating: 0, count: data.count / MemoryLayout<Float>.size)
    _ = values.withUnsafeMutableBytes { data.copyBytes(to: $0) }
    return values
}
