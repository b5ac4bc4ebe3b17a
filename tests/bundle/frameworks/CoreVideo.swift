// Stands in for Core Video's pixel buffers, with rows that are longer than their pixels.
import Foundation

public typealias CFAllocator = Int
public let kCFAllocatorDefault: CFAllocator? = nil
public let kCVPixelFormatType_32BGRA: UInt32 = 0x4247_5241
public typealias CVReturn = Int32

public struct CVPixelBufferLockFlags: OptionSet {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

public final class CVPixelBuffer {
    public let width: Int
    public let height: Int
    let stride: Int
    let memory: UnsafeMutableRawPointer

    init(width: Int, height: Int) {
        self.width = width
        self.height = height
        stride = width * 4 + 64
        memory = UnsafeMutableRawPointer.allocate(byteCount: stride * height, alignment: 64)
    }

    public var pixels: Data {
        return (0..<height).reduce(into: Data()) { $0.append(Data(bytes: memory + $1 * stride, count: width * 4)) }
    }
}

@discardableResult
public func CVPixelBufferCreate(
    _ allocator: CFAllocator?, _ width: Int, _ height: Int, _ pixelFormatType: UInt32, _ attributes: [String: Any]?,
    _ pixelBufferOut: UnsafeMutablePointer<CVPixelBuffer?>
) -> CVReturn {
    precondition(pixelFormatType == kCVPixelFormatType_32BGRA)
    pixelBufferOut.pointee = CVPixelBuffer(width: width, height: height)
    return 0
}

@discardableResult
public func CVPixelBufferLockBaseAddress(_ buffer: CVPixelBuffer, _ flags: CVPixelBufferLockFlags) -> CVReturn { return 0 }

@discardableResult
public func CVPixelBufferUnlockBaseAddress(_ buffer: CVPixelBuffer, _ flags: CVPixelBufferLockFlags) -> CVReturn {
    return 0
}

public func CVPixelBufferGetBaseAddress(_ buffer: CVPixelBuffer) -> UnsafeMutableRawPointer? { return buffer.memory }
public func CVPixelBufferGetBytesPerRow(_ buffer: CVPixelBuffer) -> Int { return buffer.stride }
