// Pointers handed over by a neighbour, on the emulated device: of another device, misaligned, of sizes that no machine has,
// shared by what an op changes and what it reads. Each is refused with what it was, and the next call works.
// WM_SIMT_MODULES names the folder of libwordmask-simt.so.
#include <cstdlib>
#include <string>
#include <vector>

#include "include/wordmask.h"
#include "native/core/backend_loader.h"
#include "test/native/check.h"

using namespace wm;

namespace {

const wm_api *api() { return wm_get_api(WM_ABI); }

bool says(const char *part) {
  const std::string text = api()->last_error();
  if (text.find(part) != std::string::npos) return true;
  std::fprintf(stderr, "%s\n", text.c_str());
  return false;
}

void settle(void *user, wm_status status, const char *) { *static_cast<wm_status *>(user) = status; }

wm_executor *open(const char *device) {
  setenv("WORDMASK_SIMT_DEVICES", "2", 1);
  load_backend("simt", std::getenv("WM_SIMT_MODULES"));
  wm_executor *executor = nullptr;
  if (api()->executor_create(device, &executor) != WM_OK) {
    std::fprintf(stderr, "%s\n", api()->last_error());
    std::exit(1);
  }
  return executor;
}

wm_view view_of(wm_storage *storage, int64_t n, int64_t offset = 0) {
  wm_view view{};
  view.storage = storage;
  view.dtype = WM_DTYPE_F32;
  view.offset = offset;
  view.ndim = 1;
  view.shape[0] = n;
  view.stride[0] = 1;
  return view;
}

// A loan of plain memory as DLPack.
struct Loan {
  std::vector<float> values{1, 2, 3, 4, 5, 6, 7, 8};
  int64_t shape[2] = {2, 3}, stride[2] = {3, 1};
  wm_dlpack tensor{};
  int returned = 0;
  Loan() {
    tensor.version.major = WM_DLPACK_MAJOR;
    tensor.manager_ctx = this;
    tensor.deleter = [](wm_dlpack *self) { ++static_cast<Loan *>(self->manager_ctx)->returned; };
    wm_dlpack_tensor &t = tensor.dl_tensor;
    t.data = values.data();
    t.device.type = WM_DLPACK_EXTENSION;
    t.ndim = 2;
    t.dtype.code = WM_DLPACK_FLOAT;
    t.dtype.bits = 32;
    t.dtype.lanes = 1;
    t.shape = shape;
    t.strides = stride;
  }
};

// The sum of a view's elements with itself, read back: the queue works.
bool works(wm_executor *executor) {
  const float values[] = {1, 2};
  wm_storage *x = nullptr, *y = nullptr;
  if (api()->storage_from_host(executor, values, sizeof values, &x) != WM_OK) return false;
  const wm_view inputs[] = {view_of(x, 2), view_of(x, 2)};
  wm_spec spec{};
  spec.dtype = WM_DTYPE_F32;
  spec.ndim = 1;
  spec.shape[0] = 2;
  if (api()->run(executor, "add", inputs, 2, nullptr, 0, &spec, 1, nullptr, &y) != WM_OK) return false;
  float out[2] = {};
  wm_status status = WM_ERR_INTERNAL;
  const wm_view view = view_of(y, 2);
  const bool read = api()->read(executor, &view, out, sizeof out, settle, &status) == WM_OK;
  api()->synchronise(executor);
  api()->storage_release(x);
  api()->storage_release(y);
  return read && status == WM_OK && out[1] == 4;
}

}  // namespace

WM_TEST(memory_of_another_device_is_named) {
  wm_executor *first = open("simt:0"), *second = open("simt:1");
  const float values[] = {1, 2, 3};
  wm_storage *there = nullptr, *none = nullptr;
  WM_CHECK(api()->storage_from_host(second, values, sizeof values, &there) == WM_OK);
  wm_dlpack *lent = nullptr;
  wm_status status = WM_ERR_INTERNAL;
  const wm_view view = view_of(there, 3);
  WM_CHECK(api()->dlpack_export(second, &view, &lent, settle, &status) == WM_OK);
  api()->synchronise(second);
  WM_CHECK(status == WM_OK && lent->dl_tensor.device.id == 1);
  void *data = lent->dl_tensor.data;
  // Said to lie where it does not, as a pointer and as DLPack; and a tensor of the other queue as an operand.
  WM_CHECK(api()->storage_borrow(first, data, sizeof values, nullptr, nullptr, nullptr, &none) == WM_ERR_DEVICE && says(":1, not on"));
  wm_view out{};
  WM_CHECK(api()->dlpack_import(first, lent, nullptr, &out) == WM_ERR_DEVICE && says("simt:1") && says("simt:0"));
  lent->dl_tensor.device.id = 0;
  WM_CHECK(api()->dlpack_import(first, lent, nullptr, &out) == WM_ERR_DEVICE && says("copy it first"));
  lent->dl_tensor.device.id = 1;
  WM_CHECK(none == nullptr && works(first) && works(second));
  // Where it lies it is taken.
  WM_CHECK(api()->dlpack_import(second, lent, nullptr, &out) == WM_OK);
  api()->storage_release(out.storage);
  api()->storage_release(there);
  WM_CHECK(works(second));
  api()->executor_free(first);
  api()->executor_free(second);
}

WM_TEST(misaligned_and_impossible_tensors_are_refused) {
  wm_executor *executor = open("simt:0");
  wm_view out{};
  const auto refused = [&](Loan &loan, const char *part) {
    const bool ok = api()->dlpack_import(executor, &loan.tensor, nullptr, &out) == WM_ERR_USAGE && says(part);
    return ok && loan.returned == 0 && works(executor);
  };
  Loan misaligned, endless, negative, misaligned_offset;
  misaligned.tensor.dl_tensor.data = reinterpret_cast<char *>(misaligned.values.data()) + 2;
  WM_CHECK(refused(misaligned, "no multiple of 4"));
  misaligned_offset.tensor.dl_tensor.byte_offset = 1;
  WM_CHECK(refused(misaligned_offset, "no multiple of 4"));
  endless.shape[0] = endless.stride[0] = int64_t{1} << 40;
  WM_CHECK(refused(endless, "beyond any machine"));
  negative.shape[1] = -1;
  WM_CHECK(refused(negative, "size 1 is -1"));
  // Aligned to its elements alone: vectors of kernels cannot be loaded there, so the value is right through a copy.
  Loan odd;
  odd.tensor.dl_tensor.byte_offset = 4;
  WM_CHECK(api()->dlpack_import(executor, &odd.tensor, nullptr, &out) == WM_OK);
  const wm_view inputs[] = {out, out};
  wm_spec spec{};
  spec.dtype = WM_DTYPE_F32;
  spec.ndim = 2;
  spec.shape[0] = 2;
  spec.shape[1] = 3;
  wm_storage *sum = nullptr;
  WM_CHECK(api()->run(executor, "add", inputs, 2, nullptr, 0, &spec, 1, nullptr, &sum) == WM_OK);
  float values[6] = {};
  wm_status status = WM_ERR_INTERNAL;
  const wm_view all = view_of(sum, 6);
  WM_CHECK(api()->read(executor, &all, values, sizeof values, settle, &status) == WM_OK);
  api()->synchronise(executor);
  WM_CHECK(status == WM_OK && values[0] == 4 && values[5] == 14);
  api()->storage_release(sum);
  api()->storage_release(out.storage);
  api()->synchronise(executor);
  WM_CHECK(odd.returned == 1);
  api()->executor_free(executor);
}

WM_TEST(what_is_changed_in_place_shares_no_memory_with_what_is_read) {
  for (const char *device : {"cpu", "simt:0"}) {
    wm_executor *executor = open(device);
    const float values[] = {1, 2, 3, 4, 5, 6};
    wm_storage *x = nullptr, *y = nullptr;
    WM_CHECK(api()->storage_from_host(executor, values, sizeof values, &x) == WM_OK);
    wm_spec spec{};
    spec.dtype = WM_DTYPE_F32;
    spec.ndim = 1;
    spec.shape[0] = 3;
    const wm_view shifted[] = {view_of(x, 3, 1), view_of(x, 3, 3)}, apart[] = {view_of(x, 3, 0), view_of(x, 3, 3)};
    WM_CHECK(api()->run(executor, "assign", shifted, 2, nullptr, 0, &spec, 1, nullptr, &y) == WM_ERR_USAGE);
    WM_CHECK(says("assign: input 0 is changed in place and shares memory with input 1") && y == nullptr);
    WM_CHECK(api()->run(executor, "assign", apart, 2, nullptr, 0, &spec, 1, nullptr, &y) == WM_OK);
    float out[6] = {};
    wm_status status = WM_ERR_INTERNAL;
    const wm_view all = view_of(x, 6);
    WM_CHECK(api()->read(executor, &all, out, sizeof out, settle, &status) == WM_OK);
    api()->synchronise(executor);
    WM_CHECK(status == WM_OK && out[0] == 4 && out[2] == 6 && out[5] == 6);
    for (wm_storage *storage : {x, y}) api()->storage_release(storage);
    WM_CHECK(works(executor));
    api()->executor_free(executor);
  }
}
