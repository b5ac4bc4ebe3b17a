struct GoldenError: Error {
    let message: String
}

private func readFloats(_ file: URL) throws -> [Float] {
    return floats(try Data(contentsOf: file))
}

private func floats(_ data: Data) -> [Float] {
    var values = [Float](repeating: 0, count: data.count / MemoryLayout<Float>.size)
    _ = values.withUnsafeMutableBytes { data.copyBytes(to: $0) }
    return values
}

private func compare(_ name: String, _ actual: [Float], _ expected: [Float], maxAbs: Double, l2: Double) throws {
    guard actual.count == expected.count else {
        throw GoldenError(message: "\(name) has \(actual.count) values, not \(expected.count)")
    }
    let differences = zip(actual, expected).map { abs(Double($0) - Double($1)) }
    let norm = differences.reduce(0) { $0 + $1 * $1 }.squareRoot()
    // A value that is not a number makes both comparisons false.
    guard differences.allSatisfy({ $0 <= maxAbs }), norm <= l2 else {
        let largest = differences.max() ?? 0
        throw GoldenError(
            message: "\(name) is off by up to \(largest) (allowed: \(maxAbs)), \(norm) together (allowed: \(l2))")
    }
}
