// What both runners share: the command line, the tensor files, the timing loop and the one line of JSON.
//
//   runner MODEL INPUT OUTPUT WARMUP ITERATIONS [--threads N] [--profile FILE] [--warmup-seconds S] [--seconds S]
//          [--window N --agreement SHARE --settle-runs N --settle-seconds S] [--suppress SCORE,OVERLAP,CANDIDATES,MOST]
//
// It warms up with WARMUP runs, and for --warmup-seconds, at least. With --window it goes on, a window of runs at a
// time, until the medians of the last two windows differ by no more than that share, for --settle-runs and
// --settle-seconds at most. Then it times ITERATIONS runs, and for --seconds, at least.
//
// With --suppress the model gives boxes (B, N, 4) and scores (B, N, classes), and every run, the timed ones as well, ends
// with what they detect: (B, MOST, 6), as mobilevit_tools/tasks/suppression.py chooses it, zeros behind the last one.
//
// A tensor file is a line of text, "mvt1 DTYPE DIM DIM ...\n", and the raw little-endian values after it. The input's
// leading dimension may be a multiple of the model's: the timing loop uses the first part only, and the outputs of all
// parts are written in order. Exit codes: 0 done, 2 wrong command line or tensor file, 3 the model cannot be loaded,
// 4 the input does not fit the model, 5 the run failed. The last line on stderr then says why.
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace mvt {

[[noreturn]] inline void fail(int code, const std::string& reason) {
  std::fflush(stdout);
  std::fprintf(stderr, "runner: %s\n", reason.c_str());
  std::fflush(stderr);
  std::_Exit(code);
}

struct DType {
  const char* name;
  size_t bytes;
};
inline constexpr DType kDTypes[] = {{"float32", 4}, {"float16", 2}, {"float64", 8}, {"int8", 1},
                                    {"uint8", 1},   {"int32", 4},   {"int64", 8}};

inline size_t dtype_bytes(const std::string& name) {
  for (const DType& dtype : kDTypes)
    if (name == dtype.name) return dtype.bytes;
  fail(4, "tensors of type " + name + " are not supported");
}

inline std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

struct Tensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<char> data;

  size_t bytes() const {
    size_t count = dtype_bytes(dtype);
    for (int64_t dim : shape) {
      if (dim < 0 || (dim > 0 && count > (size_t{1} << 33) / static_cast<size_t>(dim)))
        fail(2, "the tensor " + shape_text(shape) + " is too large");
      count *= static_cast<size_t>(dim);
    }
    return count;
  }
};

inline Tensor read_tensor(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string header, magic;
  if (!std::getline(file, header)) fail(2, "cannot read " + path);
  std::istringstream words(header);
  Tensor tensor;
  words >> magic >> tensor.dtype;
  for (int64_t dim; words >> dim;) tensor.shape.push_back(dim);
  if (magic != "mvt1" || tensor.shape.empty()) fail(2, path + " is not a tensor file");
  tensor.data.resize(tensor.bytes());
  file.read(tensor.data.data(), static_cast<std::streamsize>(tensor.data.size()));
  if (static_cast<size_t>(file.gcount()) != tensor.data.size() || file.peek() != EOF)
    fail(2, path + " does not hold the values that its header promises");
  return tensor;
}

inline void write_tensor(const std::string& path, const Tensor& tensor) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << "mvt1 " << tensor.dtype;
  for (int64_t dim : tensor.shape) file << ' ' << dim;
  file << '\n';
  file.write(tensor.data.data(), static_cast<std::streamsize>(tensor.data.size()));
  file.close();
  if (!file) fail(5, "cannot write " + path);
}

// How boxes and scores become detections.
struct Suppression {
  double least_score = 0, most_overlap = 0;
  size_t candidates = 0, most = 0;  // most is 0 where nothing is suppressed

  size_t outputs() const { return most ? 2 : 1; }
};

inline float half_value(uint16_t bits) {
  const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const float sign = bits & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) return fraction ? NAN : sign * INFINITY;
  return sign * (exponent ? std::ldexp(1024.0f + fraction, exponent - 25) : std::ldexp(float(fraction), -24));
}

inline std::vector<float> floats_of(const Tensor& tensor) {
  std::vector<float> values(tensor.data.size() / dtype_bytes(tensor.dtype));
  if (tensor.dtype == "float32") {
    std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
  } else if (tensor.dtype == "float16") {
    const auto* bits = reinterpret_cast<const uint16_t*>(tensor.data.data());
    std::transform(bits, bits + values.size(), values.begin(), half_value);
  } else {
    fail(4, "boxes and scores of type " + tensor.dtype + " are not supported");
  }
  return values;
}

inline double overlap(const float* one, const float* other) {
  const auto area = [](double width, double height) { return std::max(width, 0.0) * std::max(height, 0.0); };
  const double both = area(std::min<double>(one[2], other[2]) - std::max<double>(one[0], other[0]),
                           std::min<double>(one[3], other[3]) - std::max<double>(one[1], other[1]));
  const double whole = area(double(one[2]) - one[0], double(one[3]) - one[1]) +
                       area(double(other[2]) - other[0], double(other[3]) - other[1]) - both;
  return whole > 0 ? both / whole : 0;
}

inline Tensor detections(const Tensor& boxes, const Tensor& scores, const Suppression& suppression) {
  const std::vector<int64_t>&in = boxes.shape, &of = scores.shape;
  if (in.size() != 3 || of.size() != 3 || in[2] != 4 || in[0] != of[0] || in[1] != of[1])
    fail(4, "the model gives " + shape_text(in) + " and " + shape_text(of) + ", which are not boxes and scores");
  const size_t images = static_cast<size_t>(of[0]), classes = static_cast<size_t>(of[2]);
  const size_t pairs = static_cast<size_t>(of[1]) * classes, most = std::min(suppression.most, pairs);
  const std::vector<float> corners = floats_of(boxes), sure = floats_of(scores);
  std::vector<float> rows(images * most * 6);
  for (size_t image = 0; image < images; ++image) {
    const float* box = corners.data() + image * static_cast<size_t>(in[1]) * 4;
    const float* score = sure.data() + image * pairs;
    std::vector<size_t> ranked, kept;
    for (size_t pair = 0; pair < pairs; ++pair)
      if (static_cast<double>(score[pair]) > suppression.least_score) ranked.push_back(pair);
    std::stable_sort(ranked.begin(), ranked.end(), [&](size_t a, size_t b) { return score[a] > score[b]; });
    ranked.resize(std::min(ranked.size(), suppression.candidates));
    for (const size_t pair : ranked) {
      if (kept.size() == most) break;
      const float* one = box + pair / classes * 4;
      const bool doubled = std::any_of(kept.begin(), kept.end(), [&](size_t better) {
        return better % classes == pair % classes &&
               overlap(box + better / classes * 4, one) > suppression.most_overlap;
      });
      if (doubled) continue;
      float* row = rows.data() + (image * most + kept.size()) * 6;
      std::copy(one, one + 4, row);
      row[4] = score[pair];
      row[5] = static_cast<float>(pair % classes);
      kept.push_back(pair);
    }
  }
  Tensor found{"float32", {of[0], static_cast<int64_t>(most), 6}, std::vector<char>(rows.size() * sizeof(float))};
  std::memcpy(found.data.data(), rows.data(), found.data.size());
  return found;
}

// A loaded model with one input, and one output or a detector's boxes and scores.
class Engine {
 public:
  explicit Engine(const Suppression& suppression) : suppression_(suppression) {}
  virtual ~Engine() = default;
  virtual std::string input_dtype() const = 0;
  virtual std::vector<int64_t> input_shape() const = 0;  // -1: any size
  virtual long long planned_bytes() const = 0;           // -1: the runtime does not plan ahead
  virtual void set_input(char* data, const std::vector<int64_t>& shape) = 0;
  virtual void run() = 0;
  virtual Tensor output(size_t index) = 0;

  // All that an app does with an input.
  void answer() {
    run();
    if (suppression_.most) detected_ = detections(output(0), output(1), suppression_);
  }
  Tensor result() { return suppression_.most ? detected_ : output(0); }

 protected:
  void check_counts(size_t inputs, size_t outputs) const {
    if (inputs != 1 || outputs != suppression_.outputs())
      fail(3, suppression_.most ? "the model does not have one input, and boxes and scores as outputs"
                                : "the model does not have one input and one output");
  }

 private:
  const Suppression suppression_;
  Tensor detected_;
};

struct Arguments {
  std::string model, input, output, profile;
  int warmup = 0, iterations = 0, threads = 1, window = 0, settle_runs = 0;
  double warmup_seconds = 0, seconds = 0, agreement = 0, settle_seconds = 0;
  Suppression suppression;
};

inline int parse_count(const char* text, int minimum) {
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (*text == '\0' || *end != '\0' || value < minimum || value > INT_MAX)
    fail(2, std::string("not a count of at least ") + std::to_string(minimum) + ": " + text);
  return static_cast<int>(value);
}

inline double parse_number(const char* text) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (*text == '\0' || *end != '\0' || !std::isfinite(value)) fail(2, std::string("not a number: ") + text);
  return value;
}

inline Suppression parse_suppression(const std::string& text) {
  std::istringstream parts(text);
  std::string score, overlap, candidates, most, more;
  if (!std::getline(parts, score, ',') || !std::getline(parts, overlap, ',') || !std::getline(parts, candidates, ',') ||
      !std::getline(parts, most, ',') || std::getline(parts, more))
    fail(2, "not SCORE,OVERLAP,CANDIDATES,MOST: " + text);
  return {parse_number(score.c_str()), parse_number(overlap.c_str()),
          static_cast<size_t>(parse_count(candidates.c_str(), 1)), static_cast<size_t>(parse_count(most.c_str(), 1))};
}

inline Arguments parse(int argc, char** argv) {
  if (argc < 6) fail(2, "usage: runner MODEL INPUT OUTPUT WARMUP ITERATIONS [options]");
  Arguments arguments;
  arguments.model = argv[1];
  arguments.input = argv[2];
  arguments.output = argv[3];
  arguments.warmup = parse_count(argv[4], 0);
  arguments.iterations = parse_count(argv[5], 0);
  for (int i = 6; i < argc; i += 2) {
    const std::string option = argv[i];
    if (i + 1 == argc) fail(2, "no value for " + option);
    if (option == "--threads")
      arguments.threads = parse_count(argv[i + 1], 1);
    else if (option == "--profile")
      arguments.profile = argv[i + 1];
    else if (option == "--warmup-seconds")
      arguments.warmup_seconds = parse_number(argv[i + 1]);
    else if (option == "--seconds")
      arguments.seconds = parse_number(argv[i + 1]);
    else if (option == "--window")
      arguments.window = parse_count(argv[i + 1], 1);
    else if (option == "--agreement")
      arguments.agreement = parse_number(argv[i + 1]);
    else if (option == "--settle-runs")
      arguments.settle_runs = parse_count(argv[i + 1], 0);
    else if (option == "--settle-seconds")
      arguments.settle_seconds = parse_number(argv[i + 1]);
    else if (option == "--suppress")
      arguments.suppression = parse_suppression(argv[i + 1]);
    else
      fail(2, "unknown option " + option);
  }
  struct stat info;
  if (::stat(arguments.model.c_str(), &info) != 0) fail(3, "cannot read " + arguments.model);
  return arguments;
}

}  // namespace mvt

// The name that callgrind is told to collect in; so it is neither mangled nor inlined.
extern "C" __attribute__((noinline)) void mvt_measured_run(mvt::Engine& engine) { engine.answer(); }

namespace mvt {

using Clock = std::chrono::steady_clock;

inline double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

inline std::string json_list(const std::vector<double>& values) {
  std::ostringstream text;
  text.precision(9);
  text << '[';
  for (size_t i = 0; i < values.size(); ++i) text << (i ? ", " : "") << values[i];
  return text.str() + "]";
}

// The shape of one part of the input: the model's own, or the input's where the model leaves a size open.
inline std::vector<int64_t> part_shape(const Engine& engine, const Tensor& input) {
  const std::vector<int64_t> model = engine.input_shape();
  std::vector<int64_t> part = input.shape;
  const std::string mismatch = "the model takes " + engine.input_dtype() + " " + shape_text(model) +
                               " and the input is " + input.dtype + " " + shape_text(input.shape);
  if (input.dtype != engine.input_dtype() || model.size() != part.size()) fail(4, mismatch);
  for (size_t i = 0; i < model.size(); ++i)
    if (i > 0 && model[i] >= 0 && model[i] != part[i]) fail(4, mismatch);
  part[0] = model[0] < 0 ? 1 : model[0];
  if (part[0] < 1 || input.shape[0] < 1 || input.shape[0] % part[0] != 0) fail(4, mismatch);
  return part;
}

// The peak of this program alone: getrusage would count what its parent held before it became this program.
inline long peak_resident_kb() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("VmHWM:", 0) == 0) return std::strtol(line.c_str() + 6, nullptr, 10);
  fail(5, "/proc/self/status tells no peak memory");
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

// Whether the last two windows of a warm-up agree.
inline bool is_steady(const std::vector<double>& times, int window, double agreement) {
  if (times.size() < 2 * static_cast<size_t>(window)) return false;
  const double earlier = median({times.end() - 2 * window, times.end() - window});
  return std::abs(median({times.end() - window, times.end()}) - earlier) <= agreement * earlier;
}

// Warms up, then goes on until the runs are steady, or the caps are reached.
inline std::vector<double> warm_up(const Arguments& arguments, Engine& engine) {
  std::vector<double> times;
  const auto run = [&] {
    const auto start = Clock::now();
    engine.answer();
    times.push_back(milliseconds_since(start));
  };
  const auto start = Clock::now();
  while (times.size() < static_cast<size_t>(arguments.warmup) ||
         milliseconds_since(start) < arguments.warmup_seconds * 1e3)
    run();
  const auto settling = Clock::now();
  const size_t most = times.size() + static_cast<size_t>(arguments.settle_runs);
  bool capped = arguments.window == 0;
  while (!capped && !is_steady(times, arguments.window, arguments.agreement)) {
    for (int i = 0; i < arguments.window && !capped; ++i) {
      capped = times.size() >= most || milliseconds_since(settling) >= arguments.settle_seconds * 1e3;
      if (!capped) run();
    }
  }
  return times;
}

inline int run_protocol(const Arguments& arguments, Engine& engine, double load_ms) {
  Tensor input = read_tensor(arguments.input);
  const std::vector<int64_t> part = part_shape(engine, input);
  const int64_t parts = input.shape[0] / part[0];
  const size_t part_bytes = input.data.size() / static_cast<size_t>(parts);

  engine.set_input(input.data.data(), part);
  const std::vector<double> warmup = warm_up(arguments, engine);
  std::vector<double> samples;
  const auto sampling = Clock::now();
  while (samples.size() < static_cast<size_t>(arguments.iterations) ||
         milliseconds_since(sampling) < arguments.seconds * 1e3) {
    const auto start = Clock::now();
    mvt_measured_run(engine);
    samples.push_back(milliseconds_since(start));
  }

  Tensor output;
  for (int64_t i = 0; i < parts; ++i) {
    if (i > 0 || samples.empty()) {  // else the last timed run has just computed it
      engine.set_input(input.data.data() + static_cast<size_t>(i) * part_bytes, part);
      engine.answer();
    }
    Tensor one = engine.result();
    if (i == 0) {
      output = one;
      if (output.shape.empty()) output.shape.push_back(1);
      output.shape[0] *= parts;
    } else {
      output.data.insert(output.data.end(), one.data.begin(), one.data.end());
    }
  }
  write_tensor(arguments.output, output);

  const long long planned = engine.planned_bytes();
  std::printf(
      "{\"load_ms\": %.6f, \"warmup_ms\": %s, \"samples_ms\": %s, \"planned_bytes\": %s, \"maxrss_kb\": %ld, "
      "\"threads\": %d}\n",
      load_ms, json_list(warmup).c_str(), json_list(samples).c_str(),
      planned < 0 ? "null" : std::to_string(planned).c_str(), peak_resident_kb(), arguments.threads);
  std::fflush(stdout);
  return 0;
}

}  // namespace mvt
