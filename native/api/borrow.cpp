// Memory shared with a neighbour without a copy: lent pointers, DLPack in and out.
#include "native/api/borrow.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "native/api/handles.h"

namespace wm {

Extent extent_of(const char *what, const wm_view &view) {
  int64_t numel = 1;
  bool overflow = false;
  Extent extent{0, 0};
  for (int i = 0; i < view.ndim; ++i) {
    const int64_t size = view.shape[i];
    if (size < 0) fail(Status::usage, "%s: size %d is %lld", what, i, static_cast<long long>(size));
    if (size == 0) return {};
    int64_t span = 0;
    overflow |= __builtin_mul_overflow(size - 1, view.stride[i], &span);
    int64_t &end = span < 0 ? extent.low : extent.high;
    overflow |= __builtin_add_overflow(end, span, &end) || end > kMaxElements || end < -kMaxElements;
    overflow |= __builtin_mul_overflow(numel, size, &numel) || numel > kMaxElements;
  }
  if (overflow) fail(Status::usage, "%s: shape and strides reach beyond any machine's memory", what);
  return extent;
}

namespace {

wm_storage *borrow(const wm_executor *executor, void *data, size_t bytes, void *stream, std::function<void()> released) {
  if (data == nullptr && bytes > 0) fail(Status::usage, "lent memory of %zu bytes at address 0", bytes);
  auto handle = std::make_unique<wm_storage>();
  handle->queue = executor->queue;
  handle->storage = executor->queue->borrow(data, bytes, stream, std::move(released));
  return handle.release();
}

struct TypeCode {
  DType dtype;
  uint8_t code;
};
constexpr TypeCode kTypes[] = {
    {DType::f32, WM_DLPACK_FLOAT}, {DType::bf16, WM_DLPACK_BFLOAT}, {DType::f16, WM_DLPACK_FLOAT},  {DType::f64, WM_DLPACK_FLOAT},
    {DType::i32, WM_DLPACK_INT},   {DType::u8, WM_DLPACK_UINT},     {DType::boolean, WM_DLPACK_BOOL},
};

DType dtype_of(const wm_dlpack_tensor &tensor) {
  for (const TypeCode &type : kTypes) {
    const bool fits = type.code == tensor.dtype.code && dtype_size(type.dtype) * 8 == tensor.dtype.bits;
    if (fits && tensor.dtype.lanes == 1) return type.dtype;
  }
  fail(Status::usage,
       "DLPack: a dtype of code %d with %d bits and %d lanes is not taken: convert to f32, bf16, f16, f64, i32, u8 or bool",
       tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes);
}

// "cpu", "cuda:1"; the type's number for what has no name here.
std::string device_of(const wm_dlpack_tensor &tensor) {
  const std::string id = ":" + std::to_string(tensor.device.id);
  switch (tensor.device.type) {
    case WM_DLPACK_CPU:
    case WM_DLPACK_CUDA_HOST: return "cpu";
    case WM_DLPACK_CUDA: return "cuda" + id;
    case WM_DLPACK_EXTENSION: return "simt" + id;
    default: return "DLPack device " + std::to_string(tensor.device.type) + id;
  }
}

wm_view view_of(const wm_dlpack_tensor &tensor) {
  if (tensor.ndim < 0 || tensor.ndim > WM_MAX_DIMS || (tensor.ndim > 0 && tensor.shape == nullptr)) {
    fail(Status::usage, "DLPack: %d dimensions%s; up to %d are taken", tensor.ndim,
         tensor.shape == nullptr ? " without sizes" : "", WM_MAX_DIMS);
  }
  wm_view view{};
  view.dtype = static_cast<int32_t>(dtype_of(tensor));
  view.ndim = tensor.ndim;
  int64_t step = 1;
  for (int i = tensor.ndim - 1; i >= 0; --i) {
    view.shape[i] = tensor.shape[i];
    view.stride[i] = tensor.strides != nullptr ? tensor.strides[i] : step;
    if (__builtin_mul_overflow(step, std::max<int64_t>(tensor.shape[i], 1), &step)) step = std::numeric_limits<int64_t>::max();
  }
  return view;
}

void import_tensor(const wm_executor *executor, wm_dlpack *tensor, void *stream, wm_view *out) {
  if (tensor == nullptr) fail(Status::usage, "DLPack: the tensor is missing, or was taken before");
  if (tensor->version.major != WM_DLPACK_MAJOR) {
    fail(Status::usage, "DLPack: version %u.%u, %u.x is taken", tensor->version.major, tensor->version.minor, WM_DLPACK_MAJOR);
  }
  const wm_dlpack_tensor &source = tensor->dl_tensor;
  const std::string device = device_of(source);
  if (device != executor->queue->device()) {
    fail(Status::device, "DLPack: the tensor lies on %s, the queue works on %s: copy it first", device.c_str(),
         executor->queue->device().c_str());
  }
  wm_view view = view_of(source);
  const size_t element = dtype_size(static_cast<DType>(view.dtype));
  const Extent extent = extent_of("DLPack", view);
  uint8_t *first = nullptr;
  if (extent.count() > 0) {
    if (source.data == nullptr) fail(Status::usage, "DLPack: no data");
    const auto address = reinterpret_cast<uintptr_t>(source.data) + source.byte_offset;
    if (address % element != 0) {
      fail(Status::usage, "DLPack: %s values at an address that is no multiple of %zu: copy the tensor first",
           dtype_name(static_cast<DType>(view.dtype)), element);
    }
    first = static_cast<uint8_t *>(source.data) + source.byte_offset + extent.low * static_cast<int64_t>(element);
  }
  view.offset = -extent.low;
  view.storage = borrow(executor, first, static_cast<size_t>(extent.count()) * element, stream, [tensor] {
    if (tensor->deleter != nullptr) tensor->deleter(tensor);
  });
  *out = view;
}

struct Exported {
  wm_dlpack managed{};
  int64_t shape[WM_MAX_DIMS] = {}, stride[WM_MAX_DIMS] = {};
  wm_storage *storage = nullptr;
};

void delete_exported(wm_dlpack *self) {
  auto *exported = static_cast<Exported *>(self->manager_ctx);
  wm_get_api(WM_ABI)->storage_release(exported->storage);
  delete exported;
}

void set_device(wm_dlpack_tensor &tensor, const std::string &device) {
  const size_t colon = device.find(':');
  const std::string kind = device.substr(0, colon);
  tensor.device.type = kind == "cpu" ? WM_DLPACK_CPU : kind == "cuda" ? WM_DLPACK_CUDA : WM_DLPACK_EXTENSION;
  tensor.device.id = colon == std::string::npos ? 0 : std::atoi(device.c_str() + colon + 1);
}

std::unique_ptr<Exported> describe(const wm_executor *executor, const wm_view &view) {
  auto exported = std::make_unique<Exported>();
  const auto dtype = static_cast<DType>(view.dtype);
  wm_dlpack &managed = exported->managed;
  managed.version.major = WM_DLPACK_MAJOR;
  managed.version.minor = WM_DLPACK_MINOR;
  managed.manager_ctx = exported.get();
  managed.deleter = delete_exported;
  managed.flags = WM_DLPACK_READ_ONLY;
  wm_dlpack_tensor &tensor = managed.dl_tensor;
  set_device(tensor, executor->queue->device());
  tensor.ndim = view.ndim;
  for (const TypeCode &type : kTypes) {
    if (type.dtype == dtype) tensor.dtype.code = type.code;
  }
  tensor.dtype.bits = static_cast<uint8_t>(8 * dtype_size(dtype));
  tensor.dtype.lanes = 1;
  std::copy_n(view.shape, view.ndim, exported->shape);
  std::copy_n(view.stride, view.ndim, exported->stride);
  tensor.shape = exported->shape;
  tensor.strides = exported->stride;
  return exported;
}

}  // namespace

wm_status storage_borrow(wm_executor *executor, void *data, size_t bytes, void *stream, wm_done released, void *user,
                         wm_storage **out) {
  return guarded([&] {
    *out = borrow(executor, data, bytes, stream, [released, user] {
      if (released != nullptr) released(user, WM_OK, nullptr);
    });
  });
}

wm_status dlpack_import(wm_executor *executor, wm_dlpack *tensor, void *stream, wm_view *out) {
  return guarded([&] { import_tensor(executor, tensor, stream, out); });
}

wm_status dlpack_export(wm_executor *executor, const wm_view *view, wm_dlpack **out, wm_done done, void *user) {
  return guarded([&] {
    const StorageView source = to_internal(executor->queue, *view);
    if (!source.storage) fail(Status::usage, "DLPack: the view is missing");
    Exported *exported = describe(executor, *view).release();
    exported->storage = view->storage;
    wm_get_api(WM_ABI)->storage_retain(view->storage);
    *out = &exported->managed;
    // The address is known once the work that makes the values has run. The element offset goes into it, since not every
    // reader of DLPack looks at byte_offset.
    const int64_t skipped = source.offset * static_cast<int64_t>(dtype_size(source.view.dtype));
    executor->queue->push_read(source, nullptr, [exported, skipped, done, user](const Failure *failure) {
      auto *base = static_cast<uint8_t *>(exported->storage->storage->data());
      if (failure == nullptr) exported->managed.dl_tensor.data = base != nullptr ? base + skipped : nullptr;
      if (failure == nullptr) done(user, WM_OK, nullptr);
      else done(user, static_cast<wm_status>(failure->status), failure->text.c_str());
    });
  });
}

}  // namespace wm
