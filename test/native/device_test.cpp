// The executor of a device against a module whose streams run behind (late_device.cpp): order of copies and kernels, staging
// in slices, transfers between queues, aborts, memory that runs out, a device that is lost. WM_TEST_MODULES names the folder.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "include/wordmask.h"
#include "native/core/backend_loader.h"
#include "native/core/op.h"
#include "test/native/check.h"

using namespace wm;

namespace {

// Ops have a card and a CPU kernel before a device has one.
void unused(OpCall &call) { call.reject("runs on the device alone"); }
WM_REGISTER_CPU_OP(test_double, unused, kContiguous)
WM_REGISTER_CPU_OP(test_increment, unused, kInPlace)
WM_REGISTER_CPU_OP(copy, unused, kStrided)
WM_REGISTER_CPU_OP(test_slow, unused, kContiguous)
WM_REGISTER_CPU_OP(test_lose, unused, kContiguous)
WM_REGISTER_CPU_OP(test_refuse, unused, kContiguous)
WM_REGISTER_CPU_OP(test_elsewhere, unused, kContiguous)

const wm_api *api() { return wm_get_api(WM_ABI); }

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

struct Queue {
  wm_executor *executor = nullptr;
  explicit Queue(const char *device = "late") {
    // Tests lie elsewhere than the modules; the first folder asked for a module is kept.
    load_backend("late", std::getenv("WM_TEST_MODULES"));
    if (api()->executor_create(device, &executor) != WM_OK) {
      std::fprintf(stderr, "%s\n", api()->last_error());
      std::exit(1);
    }
  }
  ~Queue() { api()->executor_free(executor); }

  wm_storage *floats(const std::vector<float> &values) const {
    wm_storage *storage = nullptr;
    WM_CHECK(api()->storage_from_host(executor, values.data(), values.size() * 4, &storage) == WM_OK);
    return storage;
  }
  wm_status try_run(const char *op, const wm_view &input, wm_storage **out, wm_token *token = nullptr) const {
    wm_spec spec{};
    spec.dtype = WM_DTYPE_F32;
    spec.ndim = 1;
    spec.shape[0] = input.shape[0];
    return api()->run(executor, op, &input, 1, nullptr, 0, &spec, 1, token, out);
  }
  wm_storage *run(const char *op, const wm_view &input, wm_token *token = nullptr) const {
    wm_storage *out = nullptr;
    WM_CHECK(try_run(op, input, &out, token) == WM_OK);
    return out;
  }
  wm_status read(const wm_view &view, std::vector<float> &out, Result &result) const {
    out.assign(static_cast<size_t>(view.shape[0]), 0);
    return api()->read(executor, &view, out.data(), out.size() * 4, settle, &result);
  }
  std::vector<float> values(const wm_view &view) const {
    std::vector<float> out;
    Result result;
    WM_CHECK(read(view, out, result) == WM_OK);
    WM_CHECK(api()->synchronise(executor) == WM_OK);
    WM_CHECK(result.calls == 1 && result.status == WM_OK);
    return out;
  }
};

std::vector<float> ramp(size_t n) {
  std::vector<float> values(n);
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

struct Owned {
  std::vector<wm_storage *> storages;
  ~Owned() {
    for (wm_storage *storage : storages) api()->storage_release(storage);
  }
  wm_storage *operator()(wm_storage *storage) {
    storages.push_back(storage);
    return storage;
  }
};

}  // namespace

WM_TEST(values_travel_in_slices) {
  const Queue queue;
  Owned own;
  // Larger than all staging memory, and ragged.
  const std::vector<float> sent = ramp((size_t{5} << 20) + 37);
  wm_storage *x = own(queue.floats(sent));
  std::vector<float> back = queue.values(view_of(x, static_cast<int64_t>(sent.size())));
  WM_CHECK(back == sent);
  wm_storage *y = own(queue.run("test_double", view_of(x, static_cast<int64_t>(sent.size()))));
  back = queue.values(view_of(y, static_cast<int64_t>(sent.size())));
  bool right = true;
  for (size_t i = 0; i < sent.size(); ++i) right = right && back[i] == 2 * sent[i];
  WM_CHECK(right);
}

WM_TEST(kernels_wait_for_uploads_and_reads_for_kernels) {
  const Queue queue;
  Owned own;
  for (int round = 0; round < 20; ++round) {
    const std::vector<float> sent = ramp(static_cast<size_t>(33000 + round));
    const auto n = static_cast<int64_t>(sent.size());
    wm_storage *x = queue.floats(sent);
    wm_storage *y = queue.run("test_double", view_of(x, n));
    wm_storage *z = queue.run("test_double", view_of(y, n));
    std::vector<float> out;
    Result result;
    const wm_view view = view_of(z, n);
    WM_CHECK(queue.read(view, out, result) == WM_OK);
    // Released while everything is still on its way.
    for (wm_storage *storage : {x, y, z}) api()->storage_release(storage);
    WM_CHECK(api()->synchronise(queue.executor) == WM_OK);
    WM_CHECK(result.status == WM_OK && out[1] == 4 && out[sent.size() - 1] == 4 * sent.back());
  }
}

WM_TEST(strided_and_misaligned_inputs_are_gathered) {
  const Queue queue;
  Owned own;
  wm_storage *x = own(queue.floats(ramp(100)));
  wm_storage *every = own(queue.run("test_double", view_of(x, 30, 3, 1)));
  WM_CHECK(queue.values(view_of(every, 30))[29] == 2 * 88);
  wm_storage *shifted = own(queue.run("test_double", view_of(x, 50, 1, 3)));
  WM_CHECK(queue.values(view_of(shifted, 50))[0] == 6);
  WM_CHECK(queue.values(view_of(x, 40, 2, 5))[39] == 83);
}

WM_TEST(in_place_waits_for_a_read_of_the_old_values) {
  const Queue queue;
  Owned own;
  const int64_t n = 200000;
  wm_storage *x = own(queue.floats(std::vector<float>(static_cast<size_t>(n), 1)));
  for (int round = 0; round < 8; ++round) {
    std::vector<float> out;
    Result result;
    WM_CHECK(queue.read(view_of(x, n), out, result) == WM_OK);
    api()->storage_release(queue.run("test_increment", view_of(x, n)));
    WM_CHECK(api()->synchronise(queue.executor) == WM_OK);
    bool right = true;
    for (const float value : out) right = right && value == static_cast<float>(round + 1);
    WM_CHECK(right);
  }
}

WM_TEST(tensors_move_between_queues) {
  const Queue cpu("cpu"), first, second;
  Owned own;
  wm_storage *x = own(cpu.floats(ramp(1000)));
  wm_storage *there = nullptr, *other = nullptr, *back = nullptr;
  wm_view view = view_of(x, 500, 2);
  WM_CHECK(api()->transfer(cpu.executor, &view, first.executor, &there) == WM_OK);
  wm_storage *twice = own(first.run("test_double", view_of(own(there), 500)));
  view = view_of(twice, 500);
  WM_CHECK(api()->transfer(first.executor, &view, second.executor, &other) == WM_OK);
  view = view_of(own(other), 500);
  WM_CHECK(api()->transfer(second.executor, &view, cpu.executor, &back) == WM_OK);
  WM_CHECK(cpu.values(view_of(own(back), 500))[499] == 2 * 998);
  // A queue takes no tensor of another one.
  wm_storage *none = nullptr;
  WM_CHECK(first.try_run("test_double", view_of(x, 10), &none) == WM_ERR_USAGE);
  WM_CHECK(std::string(api()->last_error()).find("cpu") != std::string::npos && none == nullptr);
  std::vector<float> out;
  Result result;
  WM_CHECK(first.read(view_of(other, 10), out, result) == WM_ERR_USAGE);
}

WM_TEST(failures_and_aborts_travel_with_the_data) {
  const Queue cpu("cpu"), queue;
  Owned own;
  wm_storage *none = nullptr;
  WM_CHECK(queue.try_run("test_elsewhere", view_of(own(queue.floats({1, 2})), 2), &none) == WM_ERR_DEVICE);
  WM_CHECK(std::string(api()->last_error()).find("test_elsewhere") != std::string::npos);
  WM_CHECK(std::string(api()->last_error()).find("late:0") != std::string::npos);

  wm_token *token = api()->token_create();
  wm_storage *x = own(queue.floats({1, 2, 3, 4}));
  api()->token_cancel(token);
  wm_storage *skipped = own(queue.run("test_double", view_of(x, 4), token));
  api()->token_free(token);
  wm_storage *after = own(queue.run("test_double", view_of(skipped, 4)));
  std::vector<float> out;
  Result first, second;
  WM_CHECK(queue.read(view_of(after, 4), out, first) == WM_OK);
  wm_storage *moved = nullptr;
  const wm_view view = view_of(after, 4);
  WM_CHECK(api()->transfer(queue.executor, &view, cpu.executor, &moved) == WM_OK);
  WM_CHECK(cpu.read(view_of(own(moved), 4), out, second) == WM_OK);
  api()->synchronise(cpu.executor);
  api()->synchronise(queue.executor);
  WM_CHECK(first.status == WM_ERR_ABORTED && second.status == WM_ERR_ABORTED);
  WM_CHECK(queue.values(view_of(x, 4))[3] == 4);
}

WM_TEST(refused_values_reach_who_reads_them) {
  const Queue cpu("cpu"), queue;
  Owned own;
  wm_storage *x = own(queue.floats({-3, 2})), *good = own(queue.floats({5, 6}));
  wm_storage *refused = own(queue.run("test_refuse", view_of(x, 2)));
  wm_storage *taken = own(queue.run("test_refuse", view_of(good, 2)));
  wm_storage *after = own(queue.run("test_double", view_of(refused, 2)));
  std::vector<float> a, b, c;
  Result first, second, third;
  WM_CHECK(queue.read(view_of(after, 2), a, first) == WM_OK);
  WM_CHECK(queue.read(view_of(taken, 2), b, second) == WM_OK);
  wm_storage *moved = nullptr;
  const wm_view view = view_of(after, 2);
  WM_CHECK(api()->transfer(queue.executor, &view, cpu.executor, &moved) == WM_OK);
  WM_CHECK(cpu.read(view_of(own(moved), 2), c, third) == WM_OK);
  api()->synchronise(cpu.executor);
  api()->synchronise(queue.executor);
  WM_CHECK(first.status == WM_ERR_OPTION && first.text.find("test_refuse: value -3") == 0);
  WM_CHECK(second.status == WM_OK && b[1] == 12);
  WM_CHECK(third.status == WM_ERR_OPTION);
  // Known by now: what reads it is not run at all.
  Result fourth;
  WM_CHECK(queue.read(view_of(own(queue.run("test_slow", view_of(after, 2))), 2), a, fourth) == WM_OK);
  api()->synchronise(queue.executor);
  WM_CHECK(fourth.status == WM_ERR_OPTION && fourth.text == first.text);
  WM_CHECK(queue.values(view_of(good, 2))[1] == 6);
}

WM_TEST(verdicts_stay_few_and_end_with_their_queue) {
  wm_storage *kept = nullptr;
  {
    const Queue queue;
    Owned own;
    wm_storage *x = own(queue.floats({-1, 2})), *good = own(queue.floats({1, 2}));
    wm_storage *chain = queue.run("test_refuse", view_of(good, 2));
    for (int i = 0; i < 200; ++i) {
      wm_storage *next = queue.run(i == 100 ? "test_refuse" : "test_double", view_of(i == 100 ? x : chain, 2));
      api()->storage_release(queue.run("test_refuse", view_of(good, 2)));
      api()->storage_release(chain);
      chain = next;
    }
    kept = chain;
    std::vector<float> out;
    Result result;
    WM_CHECK(queue.read(view_of(kept, 2), out, result) == WM_OK);
    api()->synchronise(queue.executor);
    WM_CHECK(result.status == WM_ERR_OPTION && result.text.find("value -1") != std::string::npos);
    own(queue.run("test_refuse", view_of(x, 2)));
  }
  api()->storage_release(kept);
}

WM_TEST(memory_that_runs_out_is_waited_for_then_refused) {
  const Queue queue;
  Owned own;
  setenv("WM_LATE_MEMORY", "1000000", 1);
  wm_memory before{}, after{};
  api()->device_memory("late", &before);
  // Each round's buffers are released, but later than the next round asks: the executor waits for them.
  for (int round = 0; round < 6; ++round) {
    wm_storage *x = queue.floats(ramp(60000));
    wm_storage *y = queue.run("test_slow", view_of(x, 60000));
    api()->storage_release(x);
    WM_CHECK(queue.values(view_of(y, 60000))[7] == 14);
    api()->storage_release(y);
  }
  for (int round = 0; round < 6; ++round) api()->storage_release(queue.run("test_slow", view_of(own(queue.floats(ramp(30000))), 30000)));
  api()->synchronise(queue.executor);
  api()->device_memory("late", &after);
  WM_CHECK(after.cached_bytes > before.cached_bytes);
  // One that can never fit fails alone.
  wm_storage *large = own(queue.floats(ramp(300000)));
  std::vector<float> out;
  Result result;
  WM_CHECK(queue.read(view_of(large, 300000), out, result) == WM_OK);
  api()->synchronise(queue.executor);
  WM_CHECK(result.status == WM_ERR_MEMORY && result.text.find("1200000") != std::string::npos);
  WM_CHECK(queue.values(view_of(own(queue.floats(ramp(50))), 50))[49] == 49);
  unsetenv("WM_LATE_MEMORY");
}

WM_TEST(a_queue_ends_with_work_in_it) {
  Result result;
  std::vector<float> out;
  wm_storage *kept = nullptr;
  {
    const Queue queue;
    Owned own;
    wm_storage *x = own(queue.floats(ramp(100)));
    for (int i = 0; i < 20; ++i) own(queue.run("test_slow", view_of(x, 100)));
    kept = queue.run("test_slow", view_of(x, 100));
    WM_CHECK(queue.read(view_of(kept, 100), out, result) == WM_OK);
  }
  WM_CHECK(result.calls == 1 && (result.status == WM_OK || result.status == WM_ERR_ABORTED));
  // A handle may outlive its queue.
  api()->storage_release(kept);
}

// Memory of a lender who writes it on a stream of its own and spoils it once it is given back.
struct Loan {
  std::vector<float> values;
  std::atomic<int> returned{0};
  static void back(void *user, wm_status, const char *) {
    auto *loan = static_cast<Loan *>(user);
    std::fill(loan->values.begin(), loan->values.end(), -1.0f);
    ++loan->returned;
  }
};

WM_TEST(lent_memory_is_read_behind_its_writer_and_given_back_behind_its_readers) {
  const Queue queue;
  const wm_backend &table = *load_backend("late", std::getenv("WM_TEST_MODULES")).table;
  wm_stream *writer = nullptr;
  WM_CHECK(table.stream_create(nullptr, &writer) == WM_OK);
  const std::vector<float> written = ramp(40000);
  for (const bool read_itself : {false, true}) {
    Owned own;
    Loan loan;
    loan.values.assign(written.size(), 7);
    WM_CHECK(table.copy_in(writer, loan.values.data(), written.data(), written.size() * 4) == WM_OK);
    wm_storage *x = nullptr;
    WM_CHECK(api()->storage_borrow(queue.executor, loan.values.data(), written.size() * 4, writer, Loan::back, &loan, &x) == WM_OK);
    const wm_view view = view_of(x, 40000);
    wm_storage *slow = own(queue.run("test_slow", view));
    std::vector<float> out;
    Result result;
    WM_CHECK(queue.read(read_itself ? view : view_of(slow, 40000), out, result) == WM_OK);
    wm_storage *none = nullptr;
    WM_CHECK(queue.try_run("test_increment", view, &none) == WM_ERR_USAGE);
    api()->storage_release(x);
    WM_CHECK(api()->synchronise(queue.executor) == WM_OK);
    WM_CHECK(result.status == WM_OK && out[39999] == (read_itself ? 39999 : 2 * 39999));
    // Behind the fence of synchronise() there is one more: the release had its turn before it.
    WM_CHECK(loan.returned == 1);
  }
  table.stream_free(writer);
}

WM_TEST(lent_memory_that_is_refused_or_outlives_its_queue) {
  Loan loan;
  loan.values = ramp(8);
  wm_storage *x = nullptr;
  {
    const Queue queue;
    WM_CHECK(api()->storage_borrow(queue.executor, loan.values.data(), size_t{1} << 31, nullptr, Loan::back, &loan, &x) == WM_ERR_DEVICE);
    WM_CHECK(api()->storage_borrow(queue.executor, nullptr, 4, nullptr, Loan::back, &loan, &x) == WM_ERR_USAGE);
    WM_CHECK(loan.returned == 0 && x == nullptr);
    WM_CHECK(api()->storage_borrow(queue.executor, loan.values.data(), 32, nullptr, Loan::back, &loan, &x) == WM_OK);
  }
  WM_CHECK(loan.returned == 0);
  api()->storage_release(x);
  WM_CHECK(loan.returned == 1);
}

WM_TEST(a_view_leaves_as_dlpack_once_it_is_computed) {
  const Queue queue;
  Owned own;
  wm_storage *y = queue.run("test_slow", view_of(own(queue.floats(ramp(100))), 100));
  const wm_view view = view_of(y, 50, 2);
  wm_dlpack *out = nullptr;
  Result result;
  WM_CHECK(api()->dlpack_export(queue.executor, &view, &out, settle, &result) == WM_OK);
  api()->storage_release(y);
  WM_CHECK(api()->synchronise(queue.executor) == WM_OK && result.calls == 1 && result.status == WM_OK);
  const wm_dlpack_tensor &tensor = out->dl_tensor;
  WM_CHECK(tensor.device.type == WM_DLPACK_EXTENSION && tensor.ndim == 1 && tensor.shape[0] == 50 && tensor.strides[0] == 2);
  WM_CHECK((out->flags & WM_DLPACK_READ_ONLY) != 0 && static_cast<const float *>(tensor.data)[98] == 196);
  out->deleter(out);
}

WM_TEST(without_leftovers) {
  wm_memory memory{};
  api()->device_memory("late", &memory);
  // Streams end with their queues, and everything was released.
  WM_CHECK(memory.live_bytes == 0);
  wm_device_report report{};
  WM_CHECK(api()->device_report("late:0", &report) == WM_OK && report.usable == 1 && std::string(report.title) == "late device");
  WM_CHECK(api()->device_report("late:7", &report) == WM_OK && report.usable == 0 && *report.reason != '\0');
  WM_CHECK(api()->device_report("late:x", &report) == WM_OK && report.usable == 0);
  WM_CHECK(api()->device_has_op("late", "copy") == 1 && api()->device_has_op("late", "test_elsewhere") == 0);
  wm_executor *none = nullptr;
  WM_CHECK(api()->executor_create("late:7", &none) == WM_ERR_DEVICE && none == nullptr);
  WM_CHECK(api()->executor_create("tpu", &none) == WM_ERR_DEVICE && none == nullptr);
}

// Last: the module stays lost.
WM_TEST(a_lost_device_fails_everything_behind) {
  const Queue queue;
  Owned own;
  wm_storage *x = own(queue.floats(ramp(100)));
  const std::vector<float> before = queue.values(view_of(x, 100));
  WM_CHECK(before[99] == 99);
  own(queue.run("test_lose", view_of(x, 100)));
  std::vector<float> out;
  Result first, second;
  WM_CHECK(queue.read(view_of(x, 100), out, first) == WM_OK);
  api()->synchronise(queue.executor);
  own(queue.run("test_double", view_of(own(queue.floats({1, 2})), 2)));
  WM_CHECK(queue.read(view_of(x, 100), out, second) == WM_OK);
  api()->synchronise(queue.executor);
  WM_CHECK(first.status == WM_ERR_DEVICE_LOST && second.status == WM_ERR_DEVICE_LOST);
  WM_CHECK(second.text.find("lost") != std::string::npos);
}
