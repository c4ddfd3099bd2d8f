// Runs case files (case_format.md) through the CPU op table: run_cases FILE_OR_FOLDER ...
// Ends with "N passed, N failed"; exits with 77 (skipped) when there is no case at all.
#include "test/native/case_file.h"

using namespace wm;
using namespace wm::cases;

namespace {

// The memory of one run of a case.
struct Run {
  std::vector<Bytes> memory;
  std::vector<TensorView> inputs, outputs;
};

Run execute(const Case &c, const OpEntry &entry, int threads) {
  Run run;
  for (const Input &input : c.inputs) {
    run.inputs.push_back(input.view);
    if (!input.view.present()) continue;
    run.memory.push_back(make_bytes(input.storage.size()));
    if (!input.storage.empty()) std::memcpy(run.memory.back().get(), input.storage.data(), input.storage.size());
    run.inputs.back().data = run.memory.back().get() + input.offset * static_cast<int64_t>(dtype_size(input.view.dtype));
    if ((entry.flags & kStrided) == 0) gather(run.memory, run.inputs.back());
  }
  for (const Output &output : c.outputs) {
    run.outputs.push_back(output.view);
    const size_t index = run.outputs.size() - 1;
    if ((entry.flags & kInPlaceAll) != 0 || ((entry.flags & kInPlace) != 0 && index == 0)) {
      run.outputs[index].data = run.inputs.at(index).data;
      continue;
    }
    const size_t bytes = output.view.bytes();
    run.memory.push_back(make_bytes(bytes));
    std::memset(run.memory.back().get(), 0xff, bytes);  // NaN, -1, 255: an element left out shows
    run.outputs.back().data = run.memory.back().get();
  }
  ThreadPool::instance().resize(threads);
  OpCall call(entry.name, run.inputs.data(), static_cast<int>(run.inputs.size()), run.outputs.data(),
              static_cast<int>(run.outputs.size()), c.attrs.data(), static_cast<int>(c.attrs.size()));
  entry.function(call);
  return run;
}

std::string run_case(const Case &c) {
  const OpEntry *entry = find_cpu_op(c.op.c_str());
  if (entry == nullptr) return "no CPU kernel named " + c.op;
  const Run one = execute(c, *entry, 1), three = execute(c, *entry, 3);
  for (size_t i = 0; i < c.outputs.size(); ++i) {
    std::string problem = compare(c.outputs[i], one.outputs[i]);
    if (problem.empty() && std::memcmp(one.outputs[i].data, three.outputs[i].data, c.outputs[i].view.bytes()) != 0) {
      problem = "three threads give other bytes than one";
    }
    if (!problem.empty()) return "output " + std::to_string(i) + ": " + problem;
  }
  return "";
}

}  // namespace

int main(int argc, char **argv) { return run_all({argv + 1, argv + argc}, run_case); }
