// Programs through the C ABI, on the CPU and on a module whose streams run behind (late_device.cpp): order against uploads and
// reads, memory that a Program holds and gives up, what is refused. WM_TEST_MODULES names the module's folder.
#include <atomic>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "include/wordmask.h"
#include "native/core/backend_loader.h"
#include "native/core/op.h"
#include "test/native/check.h"

using namespace wm;

namespace {

void twice(OpCall &call) {
  const TensorView &x = call.in(0), &y = call.out(0);
  for (int64_t i = 0; i < y.numel(); ++i) {
    if (x.as<const float>()[i] == -7) call.reject("an evil number");
    y.as<float>()[i] = 2 * x.as<const float>()[i];
  }
}
void increment(OpCall &call) { ++call.out(0).as<float>()[0]; }
void unused(OpCall &call) { call.reject("runs on the device alone"); }
WM_REGISTER_CPU_OP(test_double, twice, kContiguous)
WM_REGISTER_CPU_OP(test_slow, twice, kContiguous)
WM_REGISTER_CPU_OP(test_increment, increment, kInPlace)
WM_REGISTER_CPU_OP(copy, unused, kStrided)

const wm_api *api() { return wm_get_api(WM_ABI); }

struct Result {
  std::atomic<int> calls{0};
  wm_status status = WM_OK;
  std::string text;
  static void settle(void *user, wm_status status, const char *text) {
    auto *result = static_cast<Result *>(user);
    result->status = status;
    result->text = text != nullptr ? text : "";
    ++result->calls;
  }
};

wm_view view_of(wm_storage *storage, int64_t n, int64_t stride = 1, int64_t offset = 0) {
  wm_view view{};
  view.storage = storage;
  view.dtype = WM_DTYPE_F32;
  view.offset = offset;
  view.ndim = 1;
  view.shape[0] = n;
  view.stride[0] = stride;
  return view;
}

wm_spec floats(int64_t n) {
  wm_spec spec{};
  spec.dtype = WM_DTYPE_F32;
  spec.ndim = 1;
  spec.shape[0] = n;
  return spec;
}

std::vector<float> ramp(int64_t n, float first) {
  std::vector<float> values(static_cast<size_t>(n));
  std::iota(values.begin(), values.end(), first);
  return values;
}

struct Queue {
  wm_executor *executor = nullptr;
  explicit Queue(const std::string &device) {
    load_backend("late", std::getenv("WM_TEST_MODULES"));
    if (api()->executor_create(device.c_str(), &executor) != WM_OK) {
      std::fprintf(stderr, "%s\n", api()->last_error());
      std::exit(1);
    }
  }
  ~Queue() { api()->executor_free(executor); }

  wm_storage *upload(const std::vector<float> &values) const {
    wm_storage *storage = nullptr;
    WM_CHECK(api()->storage_from_host(executor, values.data(), values.size() * 4, &storage) == WM_OK);
    return storage;
  }
  Result &read(wm_storage *storage, std::vector<float> &out, Result &result) const {
    const wm_view view = view_of(storage, static_cast<int64_t>(out.size()));
    WM_CHECK(api()->read(executor, &view, out.data(), out.size() * 4, Result::settle, &result) == WM_OK);
    WM_CHECK(api()->synchronise(executor) == WM_OK);
    return result;
  }
};

// y = 2^(depth + 1) x[1], x[3], ...: a strided operand, then a chain.
wm_program *record(const Queue &queue, int64_t n, int depth, const char *op = "test_double") {
  wm_storage *x = queue.upload(ramp(2 * n, 0));
  const wm_view input = view_of(x, 2 * n);
  wm_program *program = nullptr;
  WM_CHECK(api()->program_begin(queue.executor, "chain", &input, 1, &program) == WM_OK);
  wm_view at = view_of(x, n, 2, 1);
  std::vector<wm_storage *> made{x};
  for (int i = 0; i <= depth; ++i) {
    const wm_spec spec = floats(n);
    wm_storage *y = nullptr;
    WM_CHECK(api()->program_op(program, op, &at, 1, nullptr, 0, &spec, 1, nullptr, &y) == WM_OK);
    made.push_back(y);
    at = view_of(y, n);
  }
  WM_CHECK(api()->program_end(program, &at, 1) == WM_OK);
  for (wm_storage *storage : made) api()->storage_release(storage);
  return program;
}

wm_storage *run(const Queue &queue, wm_program *program, int64_t n, float first, wm_token *token = nullptr) {
  wm_storage *x = queue.upload(ramp(2 * n, first)), *y = nullptr;
  const wm_view view = view_of(x, 2 * n);
  WM_CHECK(api()->program_run(program, &view, 1, token, &y) == WM_OK);
  api()->storage_release(x);  // while everything is still on its way
  return y;
}

bool right(const std::vector<float> &values, float first, int depth) {
  const float factor = static_cast<float>(1 << (depth + 1));
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] != factor * (first + static_cast<float>(2 * i + 1))) return false;
  }
  return true;
}

const char *const kDevices[] = {"cpu", "late"};

}  // namespace

WM_TEST(replays_run_behind_uploads_and_before_reads) {
  for (const char *device : kDevices) {
    const Queue queue(device);
    const int64_t n = 20000;
    wm_program *program = record(queue, n, 3);
    std::vector<wm_storage *> results;
    for (int round = 0; round < 8; ++round) results.push_back(run(queue, program, n, static_cast<float>(round)));
    api()->program_free(program);  // with its runs in flight
    for (int round = 0; round < 8; ++round) {
      std::vector<float> out(static_cast<size_t>(n));
      Result result;
      WM_CHECK(queue.read(results[static_cast<size_t>(round)], out, result).status == WM_OK);
      WM_CHECK(right(out, static_cast<float>(round), 3));
      api()->storage_release(results[static_cast<size_t>(round)]);
    }
  }
}

WM_TEST(a_long_chain_needs_two_places) {
  const Queue queue("cpu");
  wm_program *program = record(queue, 1000, 20);
  WM_CHECK(api()->program_bytes(program) == 2 * 4096);
  std::vector<float> out(1000);
  Result result;
  wm_storage *y = run(queue, program, 1000, 5);
  WM_CHECK(queue.read(y, out, result).status == WM_OK && right(out, 5, 20));
  api()->storage_release(y);
  api()->program_free(program);
}

WM_TEST(a_capture_that_fails_changes_nothing) {
  setenv("WM_LATE_CAPTURE", "fails", 1);
  const Queue queue("late");
  wm_program *program = record(queue, 300, 2);
  for (int round = 0; round < 4; ++round) {
    std::vector<float> out(300);
    Result result;
    wm_storage *y = run(queue, program, 300, static_cast<float>(round));
    WM_CHECK(queue.read(y, out, result).status == WM_OK && right(out, static_cast<float>(round), 2));
    api()->storage_release(y);
  }
  api()->program_free(program);
  unsetenv("WM_LATE_CAPTURE");
}

WM_TEST(blocks_of_programs_go_first_when_memory_is_short) {
  setenv("WM_LATE_MEMORY", "1000000", 1);
  const Queue queue("late");
  const int64_t n = 20000;  // input, output and two places: 400 KB
  wm_program *program = record(queue, n, 3);
  for (int round = 0; round < 3; ++round) {
    for (int replay = 0; replay < 3; ++replay) {
      std::vector<float> out(static_cast<size_t>(n));
      Result result;
      wm_storage *y = run(queue, program, n, 1);
      WM_CHECK(queue.read(y, out, result).status == WM_OK && right(out, 1, 3));
      api()->storage_release(y);
    }
    // Fits beside no block.
    wm_storage *x = queue.upload(ramp(100000, 0)), *y = nullptr;
    const wm_view view = view_of(x, 100000);
    const wm_spec spec = floats(100000);
    WM_CHECK(api()->run(queue.executor, "test_double", &view, 1, nullptr, 0, &spec, 1, nullptr, &y) == WM_OK);
    std::vector<float> out(100000);
    Result result;
    WM_CHECK(queue.read(y, out, result).status == WM_OK && out[99999] == 2 * 99999.0f);
    api()->storage_release(x);
    api()->storage_release(y);
  }
  // What fits beside nothing fails, by name, and the next run is right.
  setenv("WM_LATE_MEMORY", "300000", 1);
  std::vector<float> out(static_cast<size_t>(n));
  Result failed, after;
  wm_storage *y = run(queue, program, n, 1);
  WM_CHECK(queue.read(y, out, failed).status == WM_ERR_MEMORY && failed.text.find("chain: ") == 0);
  setenv("WM_LATE_MEMORY", "1000000", 1);
  wm_storage *z = run(queue, program, n, 1);
  WM_CHECK(queue.read(z, out, after).status == WM_OK && right(out, 1, 3));
  for (wm_storage *storage : {y, z}) api()->storage_release(storage);
  api()->program_free(program);
  unsetenv("WM_LATE_MEMORY");
}

WM_TEST(aborts_and_failures_are_those_of_an_op) {
  for (const char *device : kDevices) {
    const Queue queue(device);
    wm_program *program = record(queue, 50, 3);
    wm_token *token = api()->token_create();
    api()->token_cancel(token);
    wm_storage *skipped = run(queue, program, 50, 0, token);
    api()->token_free(token);
    std::vector<float> out(50);
    Result aborted, after;
    WM_CHECK(queue.read(skipped, out, aborted).status == WM_ERR_ABORTED);
    wm_storage *next = run(queue, program, 50, 0);
    WM_CHECK(queue.read(next, out, after).status == WM_OK && right(out, 0, 3));
    if (std::string(device) == "cpu") {
      wm_storage *failed = run(queue, program, 50, -8);
      Result result;
      WM_CHECK(queue.read(failed, out, result).status == WM_ERR_OPTION);
      WM_CHECK(result.text == "test_double: an evil number");
      api()->storage_release(failed);
    }
    for (wm_storage *storage : {skipped, next}) api()->storage_release(storage);
    api()->program_free(program);
  }
}

WM_TEST(what_is_no_program_is_refused) {
  const Queue queue("cpu"), other("cpu");
  wm_storage *x = queue.upload(ramp(8, 0)), *made = nullptr, *none = nullptr;
  const wm_view whole = view_of(x, 8), strided = view_of(x, 4, 2);
  const wm_view both[] = {whole, view_of(x, 4)};
  wm_program *program = nullptr;
  WM_CHECK(api()->program_begin(queue.executor, "p", &strided, 1, &program) == WM_ERR_USAGE);
  WM_CHECK(api()->program_begin(queue.executor, "p", both, 2, &program) == WM_ERR_USAGE && program == nullptr);
  WM_CHECK(api()->program_begin(queue.executor, "p", &whole, 1, &program) == WM_OK);
  const wm_spec spec = floats(8);
  WM_CHECK(api()->program_run(program, &whole, 1, nullptr, &none) == WM_ERR_USAGE);
  WM_CHECK(api()->program_op(program, "test_increment", &whole, 1, nullptr, 0, &spec, 1, nullptr, &none) == WM_ERR_USAGE);
  WM_CHECK(api()->program_op(program, "no_such_op", &whole, 1, nullptr, 0, &spec, 1, nullptr, &none) == WM_ERR_USAGE);
  WM_CHECK(api()->program_op(program, "test_double", &whole, 1, nullptr, 0, &spec, 1, nullptr, &made) == WM_OK);
  WM_CHECK(api()->program_end(program, &whole, 1) == WM_ERR_USAGE && none == nullptr);
  const wm_view output = view_of(made, 8);
  WM_CHECK(api()->program_end(program, &output, 1) == WM_OK);
  WM_CHECK(api()->program_end(program, &output, 1) == WM_ERR_USAGE);
  WM_CHECK(api()->program_op(program, "test_double", &whole, 1, nullptr, 0, &spec, 1, nullptr, &none) == WM_ERR_USAGE);
  const wm_view shorter = view_of(x, 7);
  WM_CHECK(api()->program_run(program, &shorter, 1, nullptr, &none) == WM_ERR_USAGE);
  WM_CHECK(api()->program_run(program, &strided, 1, nullptr, &none) == WM_ERR_USAGE);
  WM_CHECK(api()->program_run(program, nullptr, 0, nullptr, &none) == WM_ERR_USAGE && none == nullptr);
  api()->program_free(program);
  api()->program_free(nullptr);
  for (wm_storage *storage : {x, made}) api()->storage_release(storage);
}

WM_TEST(without_leftovers) {
  wm_memory memory{};
  api()->device_memory("late", &memory);
  WM_CHECK(memory.live_bytes == 0);
  wm_program *program = nullptr;
  {
    // A Program may outlive its queue.
    const Queue queue("late");
    program = record(queue, 100, 1);
    for (int i = 0; i < 3; ++i) api()->storage_release(run(queue, program, 100, 0));
  }
  api()->program_free(program);
}
