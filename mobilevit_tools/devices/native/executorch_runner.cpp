// Runs an ExecuTorch program; runner.hpp has the protocol. With --profile an ETDump of the same method is written.
#include <executorch/devtools/etdump/etdump_flatcc.h>
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

#include "runner.hpp"

// The wheel's thread pool library exports this class, its headers do not declare it. Only these members are used.
namespace executorch::extension::threadpool {
class ThreadPool final {
 public:
  bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace {

using executorch::aten::ScalarType;
using executorch::extension::Module;
using executorch::runtime::Error;
using executorch::runtime::EValue;

constexpr int kProfiledRuns = 10;

std::string error_text(Error error) { return executorch::runtime::to_string(error); }

struct NamedType {
  ScalarType type;
  const char* name;
};
constexpr NamedType kTypes[] = {{ScalarType::Float, "float32"}, {ScalarType::Half, "float16"},
                                {ScalarType::Double, "float64"}, {ScalarType::Char, "int8"},
                                {ScalarType::Byte, "uint8"},    {ScalarType::Int, "int32"},
                                {ScalarType::Long, "int64"}};

const char* type_name(ScalarType type) {
  for (const NamedType& known : kTypes)
    if (known.type == type) return known.name;
  mvt::fail(4, "the model has a tensor type that the runner does not support");
}

class ExecuTorchEngine final : public mvt::Engine {
 public:
  explicit ExecuTorchEngine(const mvt::Arguments& arguments, executorch::runtime::EventTracer* tracer = nullptr)
      : Engine(arguments.suppression), module_(arguments.model, Module::LoadMode::File) {
    const Error loaded = module_.load_method("forward", nullptr, tracer);
    if (loaded != Error::Ok) mvt::fail(3, "ExecuTorch cannot load the program: " + error_text(loaded));
    const auto meta = module_.method_meta("forward");
    if (!meta.ok()) mvt::fail(3, "the program does not describe its inputs and outputs");
    check_counts(meta->num_inputs(), meta->num_outputs());
    const auto input = meta->input_tensor_meta(0);
    if (!input.ok()) mvt::fail(3, "the program's input is not a tensor");
    type_ = input->scalar_type();
    for (const int32_t size : input->sizes()) shape_.push_back(size);
    for (size_t i = 0; i < meta->num_memory_planned_buffers(); ++i)
      planned_ += meta->memory_planned_buffer_size(i).get();
  }

  std::string input_dtype() const override { return type_name(type_); }
  std::vector<int64_t> input_shape() const override { return shape_; }
  long long planned_bytes() const override { return planned_; }

  void set_input(char* data, const std::vector<int64_t>& shape) override {
    std::vector<executorch::aten::SizesType> sizes(shape.begin(), shape.end());
    input_ = executorch::extension::from_blob(data, sizes, type_);
  }

  void run() override {
    // With the input each time: a run may overwrite the memory that was planned for it.
    auto result = module_.execute("forward", EValue(*input_));
    if (!result.ok()) mvt::fail(5, "ExecuTorch cannot run the program: " + error_text(result.error()));
    values_ = std::move(result.get());
  }

  mvt::Tensor output(size_t index) override {
    if (index >= values_.size() || !values_[index].isTensor()) mvt::fail(5, "the program's output is not a tensor");
    const auto& tensor = values_[index].toTensor();
    mvt::Tensor copy{type_name(tensor.scalar_type()), {}, {}};
    for (const auto size : tensor.sizes()) copy.shape.push_back(size);
    const char* data = static_cast<const char*>(tensor.const_data_ptr());
    copy.data.assign(data, data + tensor.nbytes());
    return copy;
  }

 private:
  Module module_;
  ScalarType type_ = ScalarType::Float;
  std::vector<int64_t> shape_;
  long long planned_ = 0;
  executorch::extension::TensorPtr input_;
  std::vector<EValue> values_;
};

void write_etdump(const mvt::Arguments& arguments) {
  executorch::etdump::ETDumpGen tracer;
  ExecuTorchEngine engine(arguments, &tracer);
  mvt::Tensor input = mvt::read_tensor(arguments.input);
  engine.set_input(input.data.data(), mvt::part_shape(engine, input));
  for (int i = 0; i < kProfiledRuns; ++i) engine.run();
  const executorch::etdump::ETDumpResult dump = tracer.get_etdump_data();
  std::ofstream file(arguments.profile, std::ios::binary | std::ios::trunc);
  file.write(static_cast<const char*>(dump.buf), static_cast<std::streamsize>(dump.size));
  file.close();
  std::free(dump.buf);
  if (!file) mvt::fail(5, "cannot write " + arguments.profile);
}

}  // namespace

int main(int argc, char** argv) {
  const mvt::Arguments arguments = mvt::parse(argc, argv);
  auto* pool = executorch::extension::threadpool::get_threadpool();
  if (pool == nullptr || !pool->_unsafe_reset_threadpool(static_cast<uint32_t>(arguments.threads)))
    mvt::fail(5, "ExecuTorch's thread pool cannot be set to " + std::to_string(arguments.threads) + " threads");
  const auto start = mvt::Clock::now();
  ExecuTorchEngine engine(arguments);
  const double load_ms = mvt::milliseconds_since(start);
  if (!arguments.profile.empty()) write_etdump(arguments);
  return mvt::run_protocol(arguments, engine, load_ms);
}
