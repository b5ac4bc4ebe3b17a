// Runs a LiteRT model on the CPU with XNNPACK; runner.hpp has the protocol. With --profile, the events that LiteRT's
// profiler records in some runs are written as JSON, those of XNNPACK's operators among them.
#include "runner.hpp"

// The part of LiteRT's C interface that is used here, as in litert/c of version 2.3: the wheel has no headers.
extern "C" {
struct LiteRtLayout {
  unsigned int rank : 7;
  unsigned int has_strides : 1;
  int32_t dimensions[8];
  uint32_t strides[8];
};
struct LiteRtTensorType {
  int element;
  LiteRtLayout layout;
};
struct LiteRtMemoryUsage {
  size_t total, in_use, footprint;
};
struct LiteRtEvent {
  const char* tag;
  int type;
  uint64_t start_us, elapsed_us;
  LiteRtMemoryUsage before, after;
  uint64_t node, subgraph;
  int source;
};
static_assert(sizeof(LiteRtTensorType) == 72 && sizeof(LiteRtEvent) == 104);

int LiteRtCreateEnvironment(int count, const void* options, void** environment);
int LiteRtCreateModelFromFile(void* environment, const char* path, void** model);
int LiteRtCreateOptions(void** options);
int LiteRtSetOptionsHardwareAccelerators(void* options, int accelerators);
int LiteRtCreateOpaqueOptions(const char* name, void* text, void (*release)(void*), void** options);
int LiteRtAddOpaqueOptions(void* options, void* opaque);
int LiteRtCreateCompiledModel(void* environment, void* model, void* options, void** compiled);
int LiteRtGetModelSignature(void* model, size_t index, void** signature);
int LiteRtGetNumSignatureInputs(void* signature, size_t* count);
int LiteRtGetNumSignatureOutputs(void* signature, size_t* count);
int LiteRtGetSignatureInputTensorByIndex(void* signature, size_t index, void** tensor);
int LiteRtGetSignatureOutputTensorByIndex(void* signature, size_t index, void** tensor);
int LiteRtGetRankedTensorType(void* tensor, LiteRtTensorType* type);
int LiteRtCreateManagedTensorBuffer(void* environment, int kind, const LiteRtTensorType* type, size_t bytes,
                                    void** buffer);
int LiteRtLockTensorBuffer(void* buffer, void** address, int mode);
int LiteRtUnlockTensorBuffer(void* buffer);
int LiteRtRunCompiledModel(void* compiled, size_t signature, size_t input_count, void** inputs, size_t output_count,
                           void** outputs);
int LiteRtCompiledModelGetProfiler(void* compiled, void** profiler);
int LiteRtStartProfiler(void* profiler);
int LiteRtStopProfiler(void* profiler);
int LiteRtGetNumProfilerEvents(void* profiler, int* count);
int LiteRtGetProfilerEvents(void* profiler, int count, LiteRtEvent* events);
}

namespace {

constexpr int kProfiledRuns = 20;
constexpr int kCpu = 1, kHostMemory = 1, kRead = 0, kWrite = 1;

void check(int status, int code, const std::string& what) {
  if (status != 0) mvt::fail(code, what + ": LiteRT's status is " + std::to_string(status));
}

struct NamedType {
  int type;
  const char* name;
};
constexpr NamedType kTypes[] = {{1, "float32"}, {10, "float16"}, {11, "float64"}, {9, "int8"},
                                {3, "uint8"},   {2, "int32"},    {4, "int64"}};

const char* type_name(int type) {
  for (const NamedType& known : kTypes)
    if (known.type == type) return known.name;
  mvt::fail(4, "the model has a tensor type that the runner does not support");
}

// A tensor of the signature, and the memory that LiteRT reads it from or writes it to.
struct Bound {
  LiteRtTensorType type{};
  std::vector<int64_t> shape;
  size_t bytes = 0;
  void* buffer = nullptr;

  Bound(void* environment, void* tensor) {
    check(LiteRtGetRankedTensorType(tensor, &type), 3, "a tensor has no type");
    for (unsigned i = 0; i < type.layout.rank; ++i) shape.push_back(type.layout.dimensions[i]);
    bytes = mvt::dtype_bytes(type_name(type.element));
    for (const int64_t size : shape) {
      if (size < 0) mvt::fail(3, "the model has a flexible dimension");
      bytes *= static_cast<size_t>(size);
    }
    check(LiteRtCreateManagedTensorBuffer(environment, kHostMemory, &type, bytes, &buffer), 3, "LiteRT has no memory");
  }

  void copy(char* data, int mode) const {
    void* address = nullptr;
    check(LiteRtLockTensorBuffer(buffer, &address, mode), 5, "a tensor cannot be locked");
    std::memcpy(mode == kWrite ? address : data, mode == kWrite ? data : address, bytes);
    check(LiteRtUnlockTensorBuffer(buffer), 5, "a tensor cannot be unlocked");
  }
};

class LiteRtEngine final : public mvt::Engine {
 public:
  explicit LiteRtEngine(const mvt::Arguments& arguments, bool profiled = false) : Engine(arguments.suppression) {
    void *model = nullptr, *options = nullptr, *signature = nullptr;
    check(LiteRtCreateEnvironment(0, nullptr, &environment_), 3, "LiteRT does not start");
    check(LiteRtCreateModelFromFile(environment_, arguments.model.c_str(), &model), 3, "LiteRT cannot read the model");
    check(LiteRtCreateOptions(&options), 3, "LiteRT does not start");
    check(LiteRtSetOptionsHardwareAccelerators(options, kCpu), 3, "the CPU is refused");
    add(options, "xnnpack", "num_threads = " + std::to_string(arguments.threads) + "\n");
    if (profiled) add(options, "runtime_options_string", "enable_profiling = true\n");
    check(LiteRtCreateCompiledModel(environment_, model, options, &compiled_), 3, "LiteRT cannot load the model");
    check(LiteRtGetModelSignature(model, 0, &signature), 3, "the model has no signature");
    size_t inputs = 0, outputs = 0;
    check(LiteRtGetNumSignatureInputs(signature, &inputs), 3, "no inputs");
    check(LiteRtGetNumSignatureOutputs(signature, &outputs), 3, "no outputs");
    check_counts(inputs, outputs);
    void* tensor = nullptr;
    check(LiteRtGetSignatureInputTensorByIndex(signature, 0, &tensor), 3, "the input has no type");
    input_.emplace_back(environment_, tensor);
    for (size_t i = 0; i < outputs; ++i) {
      check(LiteRtGetSignatureOutputTensorByIndex(signature, i, &tensor), 3, "an output has no type");
      outputs_.emplace_back(environment_, tensor);
      buffers_.push_back(outputs_.back().buffer);
    }
  }

  std::string input_dtype() const override { return type_name(input_[0].type.element); }
  std::vector<int64_t> input_shape() const override { return input_[0].shape; }
  long long planned_bytes() const override { return -1; }
  void set_input(char* data, const std::vector<int64_t>&) override { input_[0].copy(data, kWrite); }

  void run() override {
    check(LiteRtRunCompiledModel(compiled_, 0, 1, &input_[0].buffer, buffers_.size(), buffers_.data()), 5,
          "LiteRT cannot run the model");
  }

  mvt::Tensor output(size_t index) override {
    const Bound& bound = outputs_[index];
    mvt::Tensor copy{type_name(bound.type.element), bound.shape, {}};
    copy.data.resize(bound.bytes);
    bound.copy(copy.data.data(), kRead);
    return copy;
  }

  // The events of one run; a list as JSON.
  std::string profiled_run() {
    void* profiler = nullptr;
    int count = 0;
    check(LiteRtCompiledModelGetProfiler(compiled_, &profiler), 5, "no profiler");
    check(LiteRtStartProfiler(profiler), 5, "the profiler does not start");
    run();
    check(LiteRtStopProfiler(profiler), 5, "the profiler does not stop");
    check(LiteRtGetNumProfilerEvents(profiler, &count), 5, "no profile");
    std::vector<LiteRtEvent> events(static_cast<size_t>(count));
    check(LiteRtGetProfilerEvents(profiler, count, events.data()), 5, "no profile");
    std::string text;
    for (const LiteRtEvent& event : events)
      text += std::string(text.empty() ? "" : ", ") + "{\"tag\": \"" + plain(event.tag) +
              "\", \"type\": " + std::to_string(event.type) + ", \"node\": " + std::to_string(event.node) +
              ", \"us\": " + std::to_string(event.elapsed_us) + "}";
    return "[" + text + "]";
  }

 private:
  static void add(void* options, const char* name, const std::string& text) {
    void* opaque = nullptr;
    check(LiteRtCreateOpaqueOptions(name, ::strdup(text.c_str()), std::free, &opaque), 3, "LiteRT does not start");
    check(LiteRtAddOpaqueOptions(options, opaque), 3, "LiteRT refuses its options");
  }

  static std::string plain(const char* tag) {
    std::string text;
    for (; *tag != '\0'; ++tag)
      if (static_cast<unsigned char>(*tag) >= ' ' && *tag != '"' && *tag != '\\') text += *tag;
    return text;
  }

  void* environment_ = nullptr;
  void* compiled_ = nullptr;
  std::vector<Bound> input_, outputs_;
  std::vector<void*> buffers_;
};

void write_profile(const mvt::Arguments& arguments) {
  LiteRtEngine engine(arguments, true);
  mvt::Tensor input = mvt::read_tensor(arguments.input);
  std::ofstream file(arguments.profile, std::ios::trunc);
  engine.set_input(input.data.data(), mvt::part_shape(engine, input));
  for (int i = 0; i < kProfiledRuns; ++i) file << (i ? ",\n" : "[") << engine.profiled_run();
  file << "]\n";
  file.close();
  if (!file) mvt::fail(5, "cannot write " + arguments.profile);
}

}  // namespace

int main(int argc, char** argv) {
  const mvt::Arguments arguments = mvt::parse(argc, argv);
  const auto start = mvt::Clock::now();
  LiteRtEngine engine(arguments);
  const double load_ms = mvt::milliseconds_since(start);
  if (!arguments.profile.empty()) write_profile(arguments);
  const int code = mvt::run_protocol(arguments, engine, load_ms);
  std::_Exit(code);  // nothing that LiteRT tears down belongs to what was measured
}
