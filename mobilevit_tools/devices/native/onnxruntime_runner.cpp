// Runs an ONNX model with ONNX Runtime's CPU provider; runner.hpp has the protocol. With --profile, ONNX Runtime's own
// profile (a JSON trace of every operator) of the same model is written.
#include <onnxruntime_c_api.h>

#include "runner.hpp"

namespace {

constexpr int kProfiledRuns = 10;
const OrtApi* api = nullptr;

void check(OrtStatus* status, int code, const std::string& what) {
  if (status == nullptr) return;
  std::string reason = api->GetErrorMessage(status);
  for (char& letter : reason)
    if (letter == '\n' || letter == '\r') letter = ' ';
  mvt::fail(code, what + ": " + reason);
}

struct NamedType {
  ONNXTensorElementDataType type;
  const char* name;
};
constexpr NamedType kTypes[] = {
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, "float32"}, {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, "float16"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE, "float64"}, {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, "int8"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, "uint8"},   {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, "int32"},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, "int64"}};

// Reads the type and sizes, and frees the description that they come from.
std::pair<ONNXTensorElementDataType, std::vector<int64_t>> describe(OrtTensorTypeAndShapeInfo* info) {
  ONNXTensorElementDataType type;
  size_t rank = 0;
  check(api->GetTensorElementType(info, &type), 3, "no tensor type");
  check(api->GetDimensionsCount(info, &rank), 3, "no tensor rank");
  std::vector<int64_t> shape(rank);
  check(api->GetDimensions(info, shape.data(), rank), 3, "no tensor sizes");
  api->ReleaseTensorTypeAndShapeInfo(info);
  return {type, shape};
}

const char* type_name(ONNXTensorElementDataType type) {
  for (const NamedType& known : kTypes)
    if (known.type == type) return known.name;
  mvt::fail(4, "the model has a tensor type that the runner does not support");
}

class OnnxRuntimeEngine final : public mvt::Engine {
 public:
  explicit OnnxRuntimeEngine(const mvt::Arguments& arguments, const std::string& profile = "")
      : Engine(arguments.suppression) {
    const std::string& path = arguments.model;
    check(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "mvt", &env_), 3, "ONNX Runtime does not start");
    OrtSessionOptions* options = nullptr;
    check(api->CreateSessionOptions(&options), 3, "ONNX Runtime does not start");
    check(api->SetIntraOpNumThreads(options, arguments.threads), 3, "the thread count is refused");
    check(api->SetInterOpNumThreads(options, 1), 3, "the thread count is refused");
    if (!profile.empty()) check(api->EnableProfiling(options, profile.c_str()), 3, "profiling is refused");
    // 8-bit products do not saturate in this mode, which cannot load a weight that two operators read.
    check(api->AddSessionConfigEntry(options, "session.x64quantprecision", "1"), 3, "ONNX Runtime does not start");
    if (OrtStatus* refused = api->CreateSession(env_, path.c_str(), options, &session_)) {
      api->ReleaseStatus(refused);
      check(api->AddSessionConfigEntry(options, "session.x64quantprecision", "0"), 3, "ONNX Runtime does not start");
      check(api->CreateSession(env_, path.c_str(), options, &session_), 3, "ONNX Runtime cannot load the model");
    }
    api->ReleaseSessionOptions(options);
    check(api->GetAllocatorWithDefaultOptions(&allocator_), 3, "ONNX Runtime has no allocator");
    size_t inputs = 0, outputs = 0;
    check(api->SessionGetInputCount(session_, &inputs), 3, "no inputs");
    check(api->SessionGetOutputCount(session_, &outputs), 3, "no outputs");
    check_counts(inputs, outputs);
    check(api->SessionGetInputName(session_, 0, allocator_, &input_name_), 3, "the input has no name");
    output_names_.resize(outputs);
    outputs_.resize(outputs);
    for (size_t i = 0; i < outputs; ++i)
      check(api->SessionGetOutputName(session_, i, allocator_, &output_names_[i]), 3, "the output has no name");
    OrtTypeInfo* info = nullptr;
    const OrtTensorTypeAndShapeInfo* tensor = nullptr;
    check(api->SessionGetInputTypeInfo(session_, 0, &info), 3, "the input has no type");
    check(api->CastTypeInfoToTensorInfo(info, &tensor), 3, "the input is not a tensor");
    if (tensor == nullptr) mvt::fail(3, "the model's input is not a tensor");
    size_t rank = 0;
    check(api->GetTensorElementType(tensor, &type_), 3, "the input has no type");
    check(api->GetDimensionsCount(tensor, &rank), 3, "the input has no rank");
    shape_.resize(rank);
    check(api->GetDimensions(tensor, shape_.data(), rank), 3, "the input has no sizes");
    api->ReleaseTypeInfo(info);
    check(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory_), 3, "ONNX Runtime has no memory");
  }

  std::string input_dtype() const override { return type_name(type_); }
  std::vector<int64_t> input_shape() const override { return shape_; }
  long long planned_bytes() const override { return -1; }

  void set_input(char* data, const std::vector<int64_t>& shape) override {
    size_t bytes = mvt::dtype_bytes(type_name(type_));
    for (const int64_t dim : shape) bytes *= static_cast<size_t>(dim);
    if (input_ != nullptr) api->ReleaseValue(input_);
    check(api->CreateTensorWithDataAsOrtValue(memory_, data, bytes, shape.data(), shape.size(), type_, &input_), 4,
          "ONNX Runtime refuses the input");
  }

  void run() override {
    for (OrtValue*& output : outputs_) {
      if (output != nullptr) api->ReleaseValue(output);
      output = nullptr;
    }
    check(api->Run(session_, nullptr, &input_name_, &input_, 1, output_names_.data(), outputs_.size(), outputs_.data()),
          5, "ONNX Runtime cannot run the model");
  }

  mvt::Tensor output(size_t index) override {
    OrtValue* value = outputs_[index];
    int is_tensor = 0;
    check(api->IsTensor(value, &is_tensor), 5, "no output");
    if (!is_tensor) mvt::fail(5, "the model's output is not a tensor");
    OrtTensorTypeAndShapeInfo* info = nullptr;
    check(api->GetTensorTypeAndShape(value, &info), 5, "no output");
    const auto [type, shape] = describe(info);
    mvt::Tensor copy{type_name(type), shape, {}};
    void* data = nullptr;
    check(api->GetTensorMutableData(value, &data), 5, "no output");
    copy.data.assign(static_cast<char*>(data), static_cast<char*>(data) + copy.bytes());
    return copy;
  }

  void end_profile(const std::string& path) {
    char* written = nullptr;
    check(api->SessionEndProfiling(session_, allocator_, &written), 5, "no profile");
    if (std::rename(written, path.c_str()) != 0) mvt::fail(5, "cannot write " + path);
    allocator_->Free(allocator_, written);
  }

 private:
  OrtEnv* env_ = nullptr;
  OrtSession* session_ = nullptr;
  OrtAllocator* allocator_ = nullptr;
  OrtMemoryInfo* memory_ = nullptr;
  char* input_name_ = nullptr;
  std::vector<char*> output_names_;
  ONNXTensorElementDataType type_ = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  std::vector<int64_t> shape_;
  OrtValue* input_ = nullptr;
  std::vector<OrtValue*> outputs_;
};

void write_profile(const mvt::Arguments& arguments) {
  OnnxRuntimeEngine engine(arguments, arguments.profile + ".part");
  mvt::Tensor input = mvt::read_tensor(arguments.input);
  engine.set_input(input.data.data(), mvt::part_shape(engine, input));
  for (int i = 0; i < kProfiledRuns; ++i) engine.run();
  engine.end_profile(arguments.profile);
}

}  // namespace

int main(int argc, char** argv) {
  const mvt::Arguments arguments = mvt::parse(argc, argv);
  // Else it uploads what it runs, and keeps an identifier and a database in the home folder of the device.
  ::setenv("ORT_DISABLE_TELEMETRY", "1", 1);
  api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (api == nullptr)
    mvt::fail(3, std::string("ONNX Runtime ") + OrtGetApiBase()->GetVersionString() + " lacks API version " +
                     std::to_string(ORT_API_VERSION));
  const auto start = mvt::Clock::now();
  OnnxRuntimeEngine engine(arguments);
  const double load_ms = mvt::milliseconds_since(start);
  if (!arguments.profile.empty()) write_profile(arguments);
  const int code = mvt::run_protocol(arguments, engine, load_ms);
  // The process ends here: tearing ONNX Runtime down has nothing to do with what was measured.
  std::_Exit(code);
}
