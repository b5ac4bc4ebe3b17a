// Stands in for Core ML: writes down what it is given, and answers with what lies beside the package.
import CoreVideo
import Foundation

public enum MLMultiArrayDataType { case float32 }

public final class MLMultiArray {
    public let shape: [NSNumber]
    var values: [Float]

    public init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws {
        self.shape = shape
        values = [Float](repeating: 0, count: shape.reduce(1) { $0 * $1.intValue })
    }

    public var count: Int { return values.count }

    public subscript(index: Int) -> NSNumber {
        get { return NSNumber(value: values[index]) }
        set { values[index] = newValue.floatValue }
    }
}

public final class MLFeatureValue {
    let content: Any

    public init(multiArray value: MLMultiArray) { content = value }
    public init(pixelBuffer value: CVPixelBuffer) { content = value }
    public init(dictionary value: [AnyHashable: NSNumber]) throws { content = value }

    public var multiArrayValue: MLMultiArray? { return content as? MLMultiArray }
    public var dictionaryValue: [AnyHashable: NSNumber] { return content as? [AnyHashable: NSNumber] ?? [:] }
}

public protocol MLFeatureProvider {
    var featureNames: Set<String> { get }
    func featureValue(for featureName: String) -> MLFeatureValue?
}

public final class MLDictionaryFeatureProvider: MLFeatureProvider {
    let features: [String: MLFeatureValue]

    public init(dictionary: [String: Any]) throws { features = dictionary.mapValues { $0 as! MLFeatureValue } }
    public var featureNames: Set<String> { return Set(features.keys) }
    public func featureValue(for featureName: String) -> MLFeatureValue? { return features[featureName] }
}

public final class MLModel {
    let package: URL

    public init(contentsOf url: URL) throws { package = url.deletingPathExtension() }

    public class func compileModel(at modelURL: URL) throws -> URL {
        precondition(FileManager.default.fileExists(atPath: modelURL.path))
        return modelURL.appendingPathExtension("mlmodelc")
    }

    public func prediction(from input: MLFeatureProvider) throws -> MLFeatureProvider {
        let folder = package.deletingLastPathComponent()
        for name in input.featureNames {
            let seen = folder.appendingPathComponent("seen.\(name)")
            let content = input.featureValue(for: name)!.content
            if let buffer = content as? CVPixelBuffer { try buffer.pixels.write(to: seen) }
            if let array = content as? MLMultiArray { try array.values.withUnsafeBytes { Data($0) }.write(to: seen) }
        }
        var outputs: [String: Any] = [:]
        for file in try FileManager.default.contentsOfDirectory(atPath: folder.path) where file.hasPrefix("answer.") {
            let answer = try Data(contentsOf: folder.appendingPathComponent(file))
            let array = try MLMultiArray(shape: [NSNumber(value: answer.count / 4)], dataType: .float32)
            _ = array.values.withUnsafeMutableBytes { answer.copyBytes(to: $0) }
            outputs[String(file.dropFirst(7))] = MLFeatureValue(multiArray: array)
        }
        // A classifier answers with a dictionary; its labels lie beside its values, one a line.
        for file in try FileManager.default.contentsOfDirectory(atPath: folder.path) where file.hasPrefix("labels.") {
            let name = String(file.dropFirst(7))
            let lines = try String(contentsOf: folder.appendingPathComponent(file), encoding: .utf8)
            let values = (outputs[name] as! MLFeatureValue).multiArrayValue!
            let pairs = lines.split(separator: "\n").enumerated().map { (AnyHashable(String($1)), values[$0]) }
            outputs[name] = try MLFeatureValue(dictionary: Dictionary(uniqueKeysWithValues: pairs))
        }
        return try MLDictionaryFeatureProvider(dictionary: outputs)
    }
}
