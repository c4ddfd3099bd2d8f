// Reads case files (case_format.md) and compares results: what the runners of the CPU and of device modules share.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "native/core/cpu_executor.h"
#include "native/core/op.h"

namespace wm::cases {

struct FreeDeleter {
  void operator()(void *data) const { std::free(data); }
};
using Bytes = std::unique_ptr<uint8_t, FreeDeleter>;

inline Bytes make_bytes(size_t size) {
  void *data = nullptr;
  if (posix_memalign(&data, 64, size == 0 ? 1 : size) != 0) fail(Status::memory, "out of memory: %zu bytes", size);
  return Bytes(static_cast<uint8_t *>(data));
}

class Reader {
 public:
  explicit Reader(const std::vector<uint8_t> &bytes) : bytes_(bytes) {}
  bool done() const { return at_ == bytes_.size(); }

  const uint8_t *take(uint64_t size) {
    if (size > bytes_.size() - at_) fail(Status::io, "case file ends %llu bytes too early", static_cast<unsigned long long>(size));
    const uint8_t *data = bytes_.data() + at_;
    at_ += static_cast<size_t>(size);
    return data;
  }
  template <class T>
  T value() {
    T result;
    std::memcpy(&result, take(sizeof(T)), sizeof(T));
    return result;
  }
  std::string text() {
    const uint32_t size = value<uint32_t>();
    return std::string(reinterpret_cast<const char *>(take(size)), size);
  }

 private:
  const std::vector<uint8_t> &bytes_;
  size_t at_ = 0;
};

struct Input {
  TensorView view;
  int64_t offset = 0;
  std::vector<uint8_t> storage;
};

struct Output {
  TensorView view;
  double tolerance = 0;
  std::vector<double> expected;
};

struct Case {
  std::string title, op;
  std::vector<double> attrs;
  std::vector<Input> inputs;
  std::vector<Output> outputs;
};

inline void read_layout(Reader &reader, TensorView &view) {
  const int32_t dtype = reader.value<int32_t>();
  if (view.ndim > kMaxDims || dtype < 0 || dtype >= kDTypeCount) fail(Status::io, "case file: bad rank or dtype");
  view.dtype = static_cast<DType>(dtype);
  for (int i = 0; i < view.ndim; ++i) view.shape[i] = reader.value<int64_t>();
}

inline Input read_input(Reader &reader) {
  Input input;
  input.view.ndim = reader.value<int32_t>();
  if (input.view.ndim < 0) return input;
  read_layout(reader, input.view);
  for (int i = 0; i < input.view.ndim; ++i) input.view.stride[i] = reader.value<int64_t>();
  input.offset = reader.value<int64_t>();
  const uint64_t size = reader.value<uint64_t>();
  const uint8_t *data = reader.take(size);
  input.storage.assign(data, data + size);
  return input;
}

inline Output read_output(Reader &reader) {
  Output output;
  output.view.ndim = reader.value<int32_t>();
  read_layout(reader, output.view);
  int64_t stride = 1;
  for (int i = output.view.ndim - 1; i >= 0; --i) {
    output.view.stride[i] = stride;
    stride *= output.view.shape[i];
  }
  output.tolerance = reader.value<double>();
  if (output.tolerance < 0) return output;
  const uint64_t count = static_cast<uint64_t>(output.view.numel());
  const uint8_t *data = reader.take(count * sizeof(double));
  output.expected.resize(static_cast<size_t>(count));
  if (count > 0) std::memcpy(output.expected.data(), data, static_cast<size_t>(count) * sizeof(double));
  return output;
}

inline Case read_case(Reader &reader) {
  if (std::memcmp(reader.take(8), "WMCASE1\n", 8) != 0) fail(Status::io, "case file: no record where one should start");
  Case c;
  c.title = reader.text();
  c.op = reader.text();
  c.attrs.resize(reader.value<uint32_t>());
  for (double &attr : c.attrs) attr = reader.value<double>();
  for (uint32_t n = reader.value<uint32_t>(); n > 0; --n) c.inputs.push_back(read_input(reader));
  for (uint32_t n = reader.value<uint32_t>(); n > 0; --n) c.outputs.push_back(read_output(reader));
  return c;
}

inline double element(const TensorView &view, int64_t i) {
  switch (view.dtype) {
    case DType::f32: return static_cast<double>(view.as<float>()[i]);
    case DType::bf16: return static_cast<double>(to_float(view.as<bf16>()[i]));
    case DType::f16: return static_cast<double>(to_float(view.as<f16>()[i]));
    case DType::f64: return view.as<double>()[i];
    case DType::i32: return view.as<int32_t>()[i];
    case DType::u8:
    case DType::boolean: return view.as<uint8_t>()[i];
  }
  return 0;
}

// Empty text: equal within the tolerance.
inline std::string compare(const Output &output, const TensorView &result) {
  if (output.tolerance < 0) return "";
  double difference = 0, scale = 0;
  for (size_t i = 0; i < output.expected.size(); ++i) {
    const double expected = output.expected[i], value = element(result, static_cast<int64_t>(i));
    if (!std::isfinite(expected) || !std::isfinite(value) || output.tolerance == 0) {
      if (expected == value || (std::isnan(expected) && std::isnan(value))) continue;
      return "element " + std::to_string(i) + " is " + std::to_string(value) + ", expected " + std::to_string(expected);
    }
    difference += (value - expected) * (value - expected);
    scale += expected * expected;
  }
  const double relative = std::sqrt(scale == 0 ? difference : difference / scale);
  if (relative <= output.tolerance) return "";
  return "relative L2 " + std::to_string(relative) + " over " + std::to_string(output.tolerance);
}

// What the executor does for kernels that want contiguous inputs: the memory of the copy goes to `memory`.
inline void gather(std::vector<Bytes> &memory, TensorView &view) {
  if (view.contiguous()) return;
  memory.push_back(make_bytes(view.bytes()));
  copy_contiguous(view, memory.back().get());
  view.data = memory.back().get();
  int64_t stride = 1;
  for (int i = view.ndim - 1; i >= 0; --i) {
    view.stride[i] = stride;
    stride *= view.shape[i];
  }
}

// Empty text: passed. kSkipped: not for this runner.
using CaseRunner = std::function<std::string(const Case &)>;
constexpr const char *kSkipped = "skipped";

struct Counts {
  int passed = 0, failed = 0, skipped = 0;
};

inline std::vector<std::filesystem::path> case_files(const std::vector<std::string> &names) {
  std::vector<std::filesystem::path> files;
  for (const std::string &name : names) {
    const std::filesystem::path path = name;
    if (std::filesystem::is_regular_file(path)) files.push_back(path);
    if (!std::filesystem::is_directory(path)) continue;
    for (const auto &entry : std::filesystem::directory_iterator(path)) {
      if (entry.path().extension() == ".bin") files.push_back(entry.path());
    }
  }
  return files;
}

inline void count(Counts &counts, const std::string &title, const std::string &problem) {
  if (problem == kSkipped) {
    ++counts.skipped;
  } else if (problem.empty()) {
    ++counts.passed;
  } else {
    ++counts.failed;
    std::fprintf(stderr, "failed: %s: %s\n", title.c_str(), problem.c_str());
  }
}

inline std::vector<Case> read_file(const std::filesystem::path &path) {
  std::ifstream stream(path, std::ios::binary);
  const std::vector<uint8_t> bytes((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  Reader reader(bytes);
  std::vector<Case> cases;
  while (!reader.done()) cases.push_back(read_case(reader));
  return cases;
}

// The status for main(): 77 where nothing ran.
inline int finish(const Counts &counts) {
  std::printf("%d passed, %d failed", counts.passed, counts.failed);
  if (counts.skipped > 0) std::printf(", %d skipped", counts.skipped);
  std::printf("\n");
  if (counts.passed + counts.failed == 0) return 77;
  return counts.failed == 0 ? 0 : 1;
}

inline void run_cases(const std::vector<Case> &cases, const CaseRunner &run, Counts &counts) {
  for (const Case &c : cases) {
    try {
      count(counts, c.title, run(c));
    } catch (const std::exception &error) {
      count(counts, c.title, error.what());
    }
  }
}

inline int run_cases(const std::vector<Case> &cases, const CaseRunner &run) {
  Counts counts;
  run_cases(cases, run, counts);
  return finish(counts);
}

// Runs every case of the files and folders.
inline int run_all(const std::vector<std::string> &names, const CaseRunner &run) {
  Counts counts;
  for (const auto &path : case_files(names)) {
    try {
      run_cases(read_file(path), run, counts);
    } catch (const std::exception &error) {
      count(counts, path.string(), error.what());
    }
  }
  return finish(counts);
}

}  // namespace wm::cases
