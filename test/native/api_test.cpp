// The public C table as another C++ program uses it: queue order, failures that travel with the data, aborts, the end of
// a queue with work in it, and refusal of malformed calls.
#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "include/wordmask.h"
#include "native/core/op.h"
#include "test/native/check.h"

using namespace wm;

namespace {

const wm_api *api() { return wm_get_api(WM_ABI); }

void double_it(OpCall &call) {
  const TensorView &x = call.in(0);
  if (call.attr_flag(0)) call.reject("asked to fail");
  const float *from = x.as<const float>();
  float *to = call.out(0).as<float>();
  call.parallel(x.numel(), 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] = 2 * from[i];
  });
}

std::atomic<bool> gate_open{true};

void wait_for_gate(OpCall &call) {
  while (!gate_open) std::this_thread::yield();
  call.out(0).as<float>()[0] = 1;
}

struct Result {
  std::atomic<int> calls{0};
  wm_status status = WM_OK;
  std::string text;
};

void settle(void *user, wm_status status, const char *text) {
  auto *result = static_cast<Result *>(user);
  result->status = status;
  result->text = text != nullptr ? text : "";
  ++result->calls;
}

struct Queue {
  wm_executor *executor = nullptr;
  Queue() { WM_CHECK(api()->executor_create("cpu", &executor) == WM_OK); }
  ~Queue() { api()->executor_free(executor); }

  wm_storage *floats(const std::vector<float> &values) const {
    wm_storage *storage = nullptr;
    WM_CHECK(api()->storage_from_host(executor, values.data(), values.size() * 4, &storage) == WM_OK);
    return storage;
  }
  wm_storage *run(const char *op, const wm_view &input, bool flag = false, wm_token *token = nullptr) const {
    wm_spec spec{};
    spec.dtype = WM_DTYPE_F32;
    spec.ndim = 1;
    spec.shape[0] = input.shape[0];
    const double attr = flag ? 1 : 0;
    wm_storage *out = nullptr;
    WM_CHECK(api()->run(executor, op, &input, 1, &attr, 1, &spec, 1, token, &out) == WM_OK);
    return out;
  }
};

wm_view vector_view(wm_storage *storage, int64_t n, int64_t stride = 1) {
  wm_view view{};
  view.storage = storage;
  view.dtype = WM_DTYPE_F32;
  view.ndim = 1;
  view.shape[0] = n;
  view.stride[0] = stride;
  return view;
}

}  // namespace

WM_REGISTER_CPU_OP(test_double, double_it, kContiguous)
WM_REGISTER_CPU_OP(test_gate, wait_for_gate, kContiguous)

WM_TEST(table_is_versioned) {
  WM_CHECK(api() != nullptr && api()->abi == WM_ABI && api()->size == sizeof(wm_api));
  WM_CHECK(wm_get_api(WM_ABI + 1) == nullptr);
  WM_CHECK(api()->op_count() >= 2 && api()->op_name(-1) == nullptr && api()->op_name(api()->op_count()) == nullptr);
}

WM_TEST(commands_run_in_call_order) {
  const Queue queue;
  wm_storage *x = queue.floats({1, 2, 3, 4, 5, 6, 7});
  wm_storage *y = queue.run("test_double", vector_view(x, 4, 2));  // 1 3 5 7: strided, gathered for the kernel
  wm_storage *z = queue.run("test_double", vector_view(y, 4));
  api()->storage_release(x);
  api()->storage_release(y);
  float out[4] = {};
  Result result;
  const wm_view view = vector_view(z, 4);
  WM_CHECK(api()->read(queue.executor, &view, out, sizeof out, settle, &result) == WM_OK);
  api()->storage_release(z);
  WM_CHECK(api()->synchronise(queue.executor) == WM_OK);
  WM_CHECK(result.calls == 1 && result.status == WM_OK);
  WM_CHECK(out[0] == 4 && out[1] == 12 && out[2] == 20 && out[3] == 28);
}

WM_TEST(a_failure_travels_with_the_data) {
  const Queue queue;
  wm_storage *x = queue.floats({1, 2});
  wm_storage *bad = queue.run("test_double", vector_view(x, 2), true);
  wm_storage *after = queue.run("test_double", vector_view(bad, 2));
  wm_storage *good = queue.run("test_double", vector_view(x, 2));
  float out[2] = {};
  Result first, second;
  const wm_view bad_view = vector_view(after, 2), good_view = vector_view(good, 2);
  api()->read(queue.executor, &bad_view, out, sizeof out, settle, &first);
  api()->read(queue.executor, &good_view, out, sizeof out, settle, &second);
  api()->synchronise(queue.executor);
  WM_CHECK(first.status == WM_ERR_OPTION && first.text == "test_double: asked to fail");
  WM_CHECK(second.status == WM_OK && out[1] == 4);
  for (wm_storage *storage : {x, bad, after, good}) api()->storage_release(storage);
}

WM_TEST(an_abort_skips_what_is_queued) {
  const Queue queue;
  wm_storage *x = queue.floats({1, 2});
  wm_token *token = api()->token_create();
  gate_open = false;
  wm_storage *gate = queue.run("test_gate", vector_view(x, 2));
  wm_storage *skipped = queue.run("test_double", vector_view(x, 2), false, token);
  wm_storage *kept = queue.run("test_double", vector_view(x, 2));
  float out[2] = {};
  Result first, second;
  const wm_view skipped_view = vector_view(skipped, 2), kept_view = vector_view(kept, 2);
  api()->read(queue.executor, &skipped_view, out, sizeof out, settle, &first);
  api()->read(queue.executor, &kept_view, out, sizeof out, settle, &second);
  api()->token_cancel(token);
  api()->token_free(token);
  gate_open = true;
  api()->synchronise(queue.executor);
  WM_CHECK(first.status == WM_ERR_ABORTED && second.status == WM_OK && out[0] == 2);
  for (wm_storage *storage : {x, gate, skipped, kept}) api()->storage_release(storage);
}

struct Foreign {
  wm_dlpack tensor{};
  int64_t shape[2] = {2, 2}, stride[2] = {1, -2};
  alignas(16) float values[5] = {0, 1, 2, 3, 4};
  int deleted = 0;
  Foreign() {
    tensor.version.major = WM_DLPACK_MAJOR;
    tensor.manager_ctx = this;
    tensor.deleter = [](wm_dlpack *self) { ++static_cast<Foreign *>(self->manager_ctx)->deleted; };
    wm_dlpack_tensor &t = tensor.dl_tensor;
    t.data = values;
    t.device.type = WM_DLPACK_CPU;
    t.ndim = 2;
    t.dtype.code = WM_DLPACK_FLOAT;
    t.dtype.bits = 32;
    t.dtype.lanes = 1;
    t.shape = shape;
    t.strides = stride;
    t.byte_offset = 12;
  }
};

WM_TEST(dlpack_tensors_are_read_where_they_lie) {
  const Queue queue;
  Foreign foreign;
  wm_view view{};
  WM_CHECK(api()->dlpack_import(queue.executor, &foreign.tensor, nullptr, &view) == WM_OK);
  float out[4] = {};
  Result result;
  WM_CHECK(api()->read(queue.executor, &view, out, sizeof out, settle, &result) == WM_OK);
  api()->storage_release(view.storage);
  api()->synchronise(queue.executor);
  // Rows one apart, columns two back: element [0, 0] is values[3].
  WM_CHECK(result.status == WM_OK && out[0] == 3 && out[1] == 1 && out[2] == 4 && out[3] == 2);
  WM_CHECK(foreign.deleted == 1);
}

WM_TEST(dlpack_tensors_that_cannot_be_taken) {
  const Queue queue;
  wm_view view{};
  const auto refused = [&](wm_status status, const char *text, void (*spoil)(Foreign &)) {
    Foreign foreign;
    spoil(foreign);
    return api()->dlpack_import(queue.executor, &foreign.tensor, nullptr, &view) == status && foreign.deleted == 0 &&
           std::string(api()->last_error()).find(text) != std::string::npos;
  };
  WM_CHECK(refused(WM_ERR_USAGE, "version 2", [](Foreign &f) { f.tensor.version.major = 2; }));
  WM_CHECK(refused(WM_ERR_DEVICE, "cuda:1", [](Foreign &f) { f.tensor.dl_tensor.device = {WM_DLPACK_CUDA, 1}; }));
  WM_CHECK(refused(WM_ERR_DEVICE, "device 10", [](Foreign &f) { f.tensor.dl_tensor.device.type = 10; }));
  WM_CHECK(refused(WM_ERR_USAGE, "64 bits", [](Foreign &f) { f.tensor.dl_tensor.dtype = {WM_DLPACK_INT, 64, 1}; }));
  WM_CHECK(refused(WM_ERR_USAGE, "4 lanes", [](Foreign &f) { f.tensor.dl_tensor.dtype.lanes = 4; }));
  WM_CHECK(refused(WM_ERR_USAGE, "9 dimensions", [](Foreign &f) { f.tensor.dl_tensor.ndim = 9; }));
  WM_CHECK(refused(WM_ERR_USAGE, "without sizes", [](Foreign &f) { f.tensor.dl_tensor.shape = nullptr; }));
  WM_CHECK(refused(WM_ERR_USAGE, "size 1 is -3", [](Foreign &f) { f.shape[1] = -3; }));
  WM_CHECK(refused(WM_ERR_USAGE, "beyond", [](Foreign &f) { f.shape[0] = f.shape[1] = int64_t{1} << 40; }));
  WM_CHECK(refused(WM_ERR_USAGE, "beyond", [](Foreign &f) { f.stride[0] = INT64_MAX; f.stride[1] = INT64_MAX; }));
  WM_CHECK(refused(WM_ERR_USAGE, "multiple of 4", [](Foreign &f) { f.tensor.dl_tensor.byte_offset = 2; }));
  WM_CHECK(refused(WM_ERR_USAGE, "no data", [](Foreign &f) { f.tensor.dl_tensor.data = nullptr; }));
  WM_CHECK(api()->dlpack_import(queue.executor, nullptr, nullptr, &view) == WM_ERR_USAGE);
  int stream = 0;
  Foreign foreign;
  WM_CHECK(api()->dlpack_import(queue.executor, &foreign.tensor, &stream, &view) == WM_ERR_USAGE && foreign.deleted == 0);
}

WM_TEST(a_failure_leaves_with_a_dlpack_tensor) {
  const Queue queue;
  wm_storage *x = queue.floats({1, 2});
  wm_storage *y = queue.run("test_double", vector_view(x, 2), true);
  const wm_view view = vector_view(y, 2);
  wm_dlpack *out = nullptr;
  Result result;
  WM_CHECK(api()->dlpack_export(queue.executor, &view, &out, settle, &result) == WM_OK);
  api()->synchronise(queue.executor);
  WM_CHECK(result.calls == 1 && result.status == WM_ERR_OPTION && out->dl_tensor.data == nullptr);
  out->deleter(out);
  for (wm_storage *storage : {x, y}) api()->storage_release(storage);
}

WM_TEST(a_queue_ends_with_work_in_it) {
  wm_memory before{}, after{};
  api()->memory(&before);
  Result result;
  float out[1] = {};
  {
    const Queue queue;
    wm_storage *x = queue.floats({1});
    gate_open = false;
    wm_storage *gate = queue.run("test_gate", vector_view(x, 1));
    wm_storage *y = queue.run("test_double", vector_view(x, 1));
    const wm_view view = vector_view(y, 1);
    api()->read(queue.executor, &view, out, sizeof out, settle, &result);
    for (wm_storage *storage : {x, gate, y}) api()->storage_release(storage);
    std::thread opener([] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      gate_open = true;
    });
    opener.detach();
  }
  api()->memory(&after);
  WM_CHECK(result.calls == 1 && result.status == WM_ERR_ABORTED);
  WM_CHECK(after.live_bytes == before.live_bytes);
}

WM_TEST(malformed_calls_are_refused) {
  const Queue queue;
  wm_executor *none = nullptr;
  WM_CHECK(api()->executor_create("tpu", &none) == WM_ERR_DEVICE && none == nullptr);
  wm_storage *x = queue.floats({1, 2, 3});
  float out[4] = {};
  Result result;
  const auto refused = [&](const wm_view &view, size_t bytes) {
    return api()->read(queue.executor, &view, out, bytes, settle, &result) == WM_ERR_USAGE && *api()->last_error() != '\0';
  };
  WM_CHECK(refused(vector_view(x, 4), 16));
  WM_CHECK(refused(vector_view(x, 2, 3), 8));
  WM_CHECK(refused(vector_view(x, 2, -1), 8));
  WM_CHECK(refused(vector_view(x, -1), 0));
  WM_CHECK(refused(vector_view(x, 3), 8));
  WM_CHECK(refused(vector_view(nullptr, 3), 12));
  wm_view odd = vector_view(x, 3);
  odd.dtype = 99;
  WM_CHECK(refused(odd, 12));
  odd = vector_view(x, 3);
  odd.ndim = WM_MAX_DIMS + 1;
  WM_CHECK(refused(odd, 12));
  odd = vector_view(x, 3);
  odd.offset = -1;
  WM_CHECK(refused(odd, 12));
  // Products that leave 64 bits must not come back as small numbers.
  WM_CHECK(refused(vector_view(x, INT64_MAX, INT64_MAX / 2), 12));
  odd = vector_view(x, 3);
  odd.offset = INT64_MAX;
  WM_CHECK(refused(odd, 12));
  odd = vector_view(x, int64_t{1} << 40, 0);
  odd.ndim = 2;
  odd.shape[1] = int64_t{1} << 40;
  WM_CHECK(refused(odd, 0));
  WM_CHECK(result.calls == 0);

  wm_spec spec{};
  wm_storage *none_out = nullptr;
  const wm_view view = vector_view(x, 3);
  WM_CHECK(api()->run(queue.executor, "no_such_op", &view, 1, nullptr, 0, &spec, 1, nullptr, &none_out) == WM_ERR_USAGE);
  spec.ndim = 2;
  spec.shape[0] = spec.shape[1] = int64_t{1} << 40;
  WM_CHECK(api()->run(queue.executor, "test_double", &view, 1, nullptr, 0, &spec, 1, nullptr, &none_out) == WM_ERR_MEMORY);
  api()->storage_release(x);
}
