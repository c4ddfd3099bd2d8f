// Runs case files (case_format.md) on a device module: run_device_cases --module FILE [--device N] FILE_OR_FOLDER ...
// With --smallest an op gives its smallest case of each dtype alone, for sanitizers. Each case runs twice and must give
// the same bytes. Cases with f64 inputs are the CPU's alone and count as skipped, as do ops
// that the module lacks with --partial. Ends with "N passed, N failed, N skipped"; exits with 77 when nothing ran.
#include <dlfcn.h>

#include <algorithm>
#include <map>

#include "native/core/backend.h"
#include "test/native/case_file.h"

using namespace wm;
using namespace wm::cases;

namespace {

// A module, one of its devices, and a stream there.
class Device {
 public:
  Device(const char *path, int number) {
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module == nullptr) fail(Status::device, "%s", dlerror());
    const auto entry = reinterpret_cast<wm_backend_entry_function>(dlsym(module, "wm_backend_entry"));
    table = entry == nullptr ? nullptr : entry(WM_BACKEND_ABI);
    if (table == nullptr || table->op_launch == nullptr) fail(Status::device, "%s has no ops of this ABI", path);
    check(table->context_create(number, &context));
    check(table->self_test(context));
    check(table->stream_create(context, &stream));
  }
  ~Device() {
    if (stream != nullptr) table->stream_free(stream);
    if (context != nullptr) table->context_free(context);
  }
  Device(const Device &) = delete;
  Device &operator=(const Device &) = delete;

  void check(wm_status status) const {
    if (status != WM_OK) throw Error(static_cast<Status>(status), table->last_error());
  }

  const wm_backend *table = nullptr;
  wm_context *context = nullptr;
  wm_stream *stream = nullptr;
};

// Device memory of one run of a case.
class Run {
 public:
  Run(const Device &device, const Case &c) : device_(device), case_(c) {}
  ~Run() {
    for (void *block : blocks_) device_.table->memory_release(device_.stream, block);
    device_.table->stream_synchronise(device_.stream);
  }
  Run(const Run &) = delete;
  Run &operator=(const Run &) = delete;

  // The bytes of every output after the op has run.
  std::vector<std::vector<uint8_t>> results(const wm_backend_op *op, uint32_t flags);

 private:
  void *upload(const void *bytes, size_t size) {
    void *data = nullptr;
    device_.check(device_.table->memory_alloc(device_.stream, size, &data));
    if (data == nullptr) return nullptr;
    blocks_.push_back(data);
    device_.check(device_.table->copy_in(device_.stream, data, bytes, size));
    device_.check(device_.table->stream_synchronise(device_.stream));
    return data;
  }
  TensorView place_input(const Input &input, bool strided);

  const Device &device_;
  const Case &case_;
  std::vector<void *> blocks_;
  std::vector<Bytes> host_;
};

TensorView Run::place_input(const Input &input, bool strided) {
  TensorView view = input.view;
  if (!view.present()) return view;
  const int64_t start = input.offset * static_cast<int64_t>(dtype_size(view.dtype));
  if (strided) {
    view.data = static_cast<uint8_t *>(upload(input.storage.data(), input.storage.size())) + start;
    return view;
  }
  view.data = const_cast<uint8_t *>(input.storage.data()) + start;
  gather(host_, view);
  view.data = upload(view.data, view.bytes());
  return view;
}

wm_tensor_view to_c(const TensorView &view) {
  wm_tensor_view result{};
  result.data = view.data;
  result.dtype = static_cast<int32_t>(view.dtype);
  result.ndim = view.ndim;
  for (int i = 0; i < kMaxDims; ++i) {
    result.shape[i] = view.shape[i];
    result.stride[i] = view.stride[i];
  }
  return result;
}

std::vector<std::vector<uint8_t>> Run::results(const wm_backend_op *op, uint32_t flags) {
  std::vector<wm_tensor_view> inputs, outputs;
  // An op that works in place writes to its input's memory, which must not be a gathered copy shared with anything.
  for (const Input &input : case_.inputs) inputs.push_back(to_c(place_input(input, (flags & kStrided) != 0)));
  for (size_t i = 0; i < case_.outputs.size(); ++i) {
    TensorView view = case_.outputs[i].view;
    if ((flags & kInPlaceAll) != 0 || ((flags & kInPlace) != 0 && i == 0)) {
      view.data = inputs.at(i).data;
    } else {
      const std::vector<uint8_t> poison(view.bytes(), 0xff);  // NaN, -1, 255: an element left out shows
      view.data = upload(poison.data(), poison.size());
    }
    outputs.push_back(to_c(view));
  }
  device_.check(device_.table->op_launch(device_.context, op, device_.stream, inputs.data(),
                                         static_cast<int32_t>(inputs.size()), outputs.data(),
                                         static_cast<int32_t>(outputs.size()), case_.attrs.data(),
                                         static_cast<int32_t>(case_.attrs.size())));
  std::vector<std::vector<uint8_t>> bytes;
  for (size_t i = 0; i < outputs.size(); ++i) {
    bytes.emplace_back(case_.outputs[i].view.bytes());
    if (bytes.back().empty()) continue;
    device_.check(device_.table->copy_out(device_.stream, bytes.back().data(), outputs[i].data, bytes.back().size()));
  }
  device_.check(device_.table->stream_synchronise(device_.stream));
  return bytes;
}

// By the inputs: results may well be f64 (norms, positions), and ops that only make or move f64 take it.
bool takes_f64(const Case &c) {
  for (const Input &input : c.inputs) {
    if (input.view.present() && input.view.dtype == DType::f64) return true;
  }
  return false;
}

size_t bytes_of(const Case &c) {
  size_t bytes = 0;
  for (const Input &input : c.inputs) bytes += input.storage.size();
  for (const Output &output : c.outputs) bytes += output.view.bytes();
  return bytes;
}

// Of each op the case that moves fewest bytes, empty ones left out: enough for every kernel's barriers, and sanitizers
// slow a launch down fifty times. One a dtype, since tiers differ by it.
std::vector<Case> smallest_cases(const std::vector<std::string> &names) {
  std::map<std::string, Case> chosen;
  for (const auto &path : case_files(names)) {
    for (Case &c : read_file(path)) {
      const bool empty = std::any_of(c.outputs.begin(), c.outputs.end(), [](const Output &o) { return o.view.numel() == 0; });
      if (empty || takes_f64(c)) continue;
      const DType dtype = c.outputs[0].view.dtype;
      const std::string key = c.op + ":" + dtype_name(dtype);
      const auto found = chosen.find(key);
      if (found == chosen.end()) chosen.emplace(key, std::move(c));
      else if (bytes_of(c) < bytes_of(found->second)) found->second = std::move(c);
    }
  }
  std::vector<Case> cases;
  for (auto &entry : chosen) cases.push_back(std::move(entry.second));
  return cases;
}

std::string run_case(const Device &device, const Case &c, bool partial) {
  uint32_t flags = 0;
  const wm_backend_op *op = device.table->op_find(c.op.c_str(), &flags);
  if (takes_f64(c) || (op == nullptr && partial)) return kSkipped;
  if (op == nullptr) return "the module has no op named " + c.op;
  std::vector<std::vector<uint8_t>> once = Run(device, c).results(op, flags);
  const std::vector<std::vector<uint8_t>> twice = Run(device, c).results(op, flags);
  for (size_t i = 0; i < c.outputs.size(); ++i) {
    TensorView view = c.outputs[i].view;
    view.data = once[i].data();
    std::string problem = compare(c.outputs[i], view);
    if (problem.empty() && once[i] != twice[i]) problem = "a second run gives other bytes";
    if (!problem.empty()) return "output " + std::to_string(i) + ": " + problem;
  }
  return "";
}

int usage() {
  std::fprintf(stderr, "usage: run_device_cases --module FILE [--device N] [--partial] [--smallest] FILE_OR_FOLDER ...\n");
  return 2;
}

}  // namespace

int main(int argc, char **argv) {
  const char *module = nullptr;
  int number = 0;
  bool partial = false, smallest = false;
  std::vector<std::string> names;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--partial") partial = true;
    else if (word == "--smallest") smallest = true;
    else if (word == "--module" && i + 1 < argc) module = argv[++i];
    else if (word == "--device" && i + 1 < argc) number = std::atoi(argv[++i]);
    else names.push_back(word);
  }
  if (module == nullptr || names.empty()) return usage();
  try {
    const Device device(module, number);
    if (smallest) {
      return run_cases(smallest_cases(names), [&](const Case &c) { return run_case(device, c, partial); });
    }
    return run_all(names, [&](const Case &c) { return run_case(device, c, partial); });
  } catch (const Error &error) {
    std::fprintf(stderr, "run_device_cases: %s\n", error.what());
    return 1;
  }
}
