// The functions behind include/wordmask.h.
#include "native/api/handles.h"

#include <cstring>

#include "native/core/arena.h"
#include "native/api/borrow.h"
#include "native/api/devices.h"
#include "native/api/direct.h"
#include "native/api/overlap.h"
#include "native/api/programs.h"
#include "native/core/backend_loader.h"
#include "native/core/cpu_info.h"
#include "native/core/device_executor.h"

namespace wm {

namespace {

thread_local std::string error_text;

}  // namespace

wm_status set_last_error(Status status, const char *text) {
  error_text = text;
  return static_cast<wm_status>(status);
}

const char *last_error_text() { return error_text.c_str(); }

namespace {

bool valid_dtype(int32_t dtype) { return dtype >= 0 && dtype < kDTypeCount; }

// Checks the element range [low, high] that a view touches against the storage. Sizes and strides are the caller's:
// every product and sum is checked, so that none comes back as a small number.
void check_bounds(const wm_view &view, size_t storage_bytes) {
  int64_t low = view.offset, high = view.offset, numel = 1;
  bool overflow = false, empty = false;
  for (int i = 0; i < view.ndim; ++i) {
    if (view.shape[i] < 0) fail(Status::usage, "view has a negative size %lld", static_cast<long long>(view.shape[i]));
    if (view.shape[i] == 0) {
      empty = true;
      continue;
    }
    int64_t span = 0;
    overflow |= __builtin_mul_overflow(view.shape[i] - 1, view.stride[i], &span);
    int64_t &end = span < 0 ? low : high;
    overflow |= __builtin_add_overflow(end, span, &end);
    overflow |= __builtin_mul_overflow(numel, view.shape[i], &numel) || numel > kMaxElements;
  }
  if (empty) return;
  const int64_t capacity = static_cast<int64_t>(storage_bytes / dtype_size(static_cast<DType>(view.dtype)));
  if (overflow || low < 0 || high >= capacity) {
    fail(Status::usage, "view touches elements %lld..%lld of a storage of %lld%s", static_cast<long long>(low),
         static_cast<long long>(high), static_cast<long long>(capacity), overflow ? " (its size leaves 64 bits)" : "");
  }
}

}  // namespace

StorageView to_internal(const std::shared_ptr<Executor> &queue, const wm_view &view) {
  StorageView result;
  if (view.ndim < 0) return result;
  if (view.storage == nullptr || view.ndim > WM_MAX_DIMS || !valid_dtype(view.dtype)) {
    fail(Status::usage, "malformed view (ndim %d, dtype %d)", view.ndim, view.dtype);
  }
  if (!queue->owns(*view.storage->storage)) {
    fail(Status::usage, "a tensor on %s meets work on %s: move one of them", view.storage->queue->device().c_str(),
         queue->device().c_str());
  }
  check_bounds(view, view.storage->storage->bytes());
  result.storage = view.storage->storage;
  result.offset = view.offset;
  result.view.dtype = static_cast<DType>(view.dtype);
  result.view.ndim = view.ndim;
  for (int i = 0; i < view.ndim; ++i) {
    result.view.shape[i] = view.shape[i];
    result.view.stride[i] = view.stride[i];
  }
  return result;
}

TensorView contiguous_view(const wm_spec &spec) {
  if (spec.ndim < 0 || spec.ndim > WM_MAX_DIMS || !valid_dtype(spec.dtype)) {
    fail(Status::usage, "malformed output (ndim %d, dtype %d)", spec.ndim, spec.dtype);
  }
  TensorView view;
  view.dtype = static_cast<DType>(spec.dtype);
  view.ndim = spec.ndim;
  int64_t step = 1;
  for (int i = spec.ndim - 1; i >= 0; --i) {
    if (spec.shape[i] < 0) fail(Status::usage, "output has a negative size %lld", static_cast<long long>(spec.shape[i]));
    view.shape[i] = spec.shape[i];
    view.stride[i] = step;
    if (__builtin_mul_overflow(step, spec.shape[i], &step) || step > kMaxElements) {
      fail(Status::memory, "an output is too large for any machine");
    }
  }
  return view;
}

wm_storage *new_handle(const std::shared_ptr<Executor> &queue, std::shared_ptr<Storage> storage) {
  auto *handle = new wm_storage;
  handle->storage = std::move(storage);
  handle->queue = queue;
  return handle;
}

namespace {

wm_status executor_create(const char *device, wm_executor **out) {
  return guarded([&] {
    if (std::strcmp(device, "cpu") == 0) *out = new wm_executor{std::make_shared<CpuExecutor>()};
    else *out = new wm_executor{std::make_shared<DeviceExecutor>(DeviceContext::open(device))};
  });
}

void executor_free(wm_executor *executor) {
  if (executor == nullptr) return;
  executor->queue->close();
  delete executor;
}

// How many outputs are the memory of the input of the same number.
int32_t in_place_count(const OpHandle &op, int32_t num_outputs) {
  if ((op.flags & kInPlaceAll) != 0) return num_outputs;
  return (op.flags & kInPlace) != 0 ? 1 : 0;
}

void check_in_place(const OpHandle &op, const std::vector<StorageView> &inputs, int32_t count, int32_t num_outputs) {
  if (count > num_outputs || static_cast<size_t>(count) > inputs.size()) {
    fail(Status::usage, "%s: works in place and needs %d inputs", op.name, count);
  }
  for (int32_t i = 0; i < count; ++i) {
    if (!inputs[i].storage || !inputs[i].storage->writable()) {
      fail(Status::usage, "%s: works in place and needs writable memory for input %d", op.name, i);
    }
    if (!inputs[i].view.contiguous()) fail(Status::usage, "%s: works in place on contiguous memory alone", op.name);
  }
  check_overlap(op.name, inputs, count);
}

}  // namespace

PreparedOp prepare_op(const std::shared_ptr<Executor> &queue, const char *name, const wm_view *inputs, int32_t num_inputs,
                      const double *attrs, int32_t num_attrs, const wm_spec *outputs, int32_t num_outputs) {
  PreparedOp prepared{queue->find_op(name), {}, {}, std::vector<double>(attrs, attrs + num_attrs)};
  for (int32_t i = 0; i < num_inputs; ++i) prepared.inputs.push_back(to_internal(queue, inputs[i]));
  const int32_t in_place = in_place_count(prepared.op, num_outputs);
  check_in_place(prepared.op, prepared.inputs, in_place, num_outputs);
  for (int32_t i = 0; i < num_outputs; ++i) {
    StorageView output;
    output.view = contiguous_view(outputs[i]);
    if (i < in_place) output = prepared.inputs[i];
    else output.storage = queue->make_storage(output.view.bytes());
    prepared.outputs.push_back(output);
  }
  return prepared;
}

void push_op(const std::shared_ptr<Executor> &queue, PreparedOp prepared, wm_token *token, wm_storage **out) {
  std::vector<wm_storage *> handles;
  for (const StorageView &output : prepared.outputs) handles.push_back(new_handle(queue, output.storage));
  queue->push_op(prepared.op, std::move(prepared.inputs), std::move(prepared.attrs), std::move(prepared.outputs),
                 token != nullptr ? token->token : nullptr);
  for (size_t i = 0; i < handles.size(); ++i) out[i] = handles[i];
}

Completion to_completion(wm_done done, void *user) {
  return [done, user](const Failure *failure) {
    if (failure == nullptr) done(user, WM_OK, nullptr);
    else done(user, static_cast<wm_status>(failure->status), failure->text.c_str());
  };
}

namespace {

wm_status run(wm_executor *executor, const char *op_name, const wm_view *inputs, int32_t num_inputs, const double *attrs,
              int32_t num_attrs, const wm_spec *outputs, int32_t num_outputs, wm_token *token, wm_storage **out) {
  return guarded([&] {
    push_op(executor->queue,
            prepare_op(executor->queue, op_name, inputs, num_inputs, attrs, num_attrs, outputs, num_outputs), token, out);
  });
}

// Hands host memory to the executor's device: as it is on the CPU, by a queued copy elsewhere.
wm_storage *host_handle(wm_executor *executor, std::shared_ptr<Storage> host) {
  if (executor->queue->owns(*host)) return new_handle(executor->queue, std::move(host));
  wm_storage *handle = new_handle(executor->queue, executor->queue->make_storage(host->bytes()));
  executor->queue->push_upload(std::move(host), handle->storage, nullptr);
  return handle;
}

std::shared_ptr<Storage> host_copy(const void *data, size_t bytes) {
  auto storage = std::make_shared<Storage>(bytes);
  storage->allocate();
  if (bytes > 0) std::memcpy(storage->data(), data, bytes);
  return storage;
}

wm_status storage_from_host(wm_executor *executor, const void *data, size_t bytes, wm_storage **out) {
  return guarded([&] { *out = host_handle(executor, host_copy(data, bytes)); });
}

wm_status storage_from_external(wm_executor *executor, void *data, size_t bytes, wm_done released, void *user, wm_storage **out) {
  return guarded([&] {
    *out = host_handle(executor, std::make_shared<Storage>(data, bytes, [released, user] {
      if (released != nullptr) released(user, WM_OK, nullptr);
    }));
  });
}

wm_status storage_from_mapped(wm_executor *executor, wm_mapped *mapped, uint64_t offset, size_t bytes, uint32_t alignment,
                              wm_storage **out) {
  return guarded([&] {
    auto part = std::make_shared<Storage>(mapped->file, offset, bytes);
    // A mapping begins at a page, so the offset alone decides.
    if (alignment <= 1 || offset % alignment == 0) {
      *out = host_handle(executor, std::move(part));
      return;
    }
    auto copied = host_copy(part->data(), bytes);
    part->check_intact();
    *out = host_handle(executor, std::move(copied));
  });
}

void storage_retain(wm_storage *storage) { storage->references.fetch_add(1); }

void storage_release(wm_storage *storage) {
  if (storage == nullptr || storage->references.fetch_sub(1) != 1) return;
  storage->queue->push_release(std::move(storage->storage));
  delete storage;
}

size_t storage_bytes(const wm_storage *storage) { return storage->storage->bytes(); }

wm_status read(wm_executor *executor, const wm_view *view, void *destination, size_t bytes, wm_done done, void *user) {
  return guarded([&] {
    StorageView source = to_internal(executor->queue, *view);
    if (!source.storage || source.view.bytes() != bytes) {
      fail(Status::usage, "read: the destination has %zu bytes, the view %zu", bytes, source.view.bytes());
    }
    executor->queue->push_read(std::move(source), destination, to_completion(done, user));
  });
}

// Both queues take part: the first reads to host memory, the second goes on from there.
wm_status transfer(wm_executor *from, const wm_view *view, wm_executor *to, wm_storage **out) {
  return guarded([&] {
    StorageView source = to_internal(from->queue, *view);
    if (!source.storage) fail(Status::usage, "transfer: the view is missing");
    const size_t bytes = source.view.bytes();
    auto host = std::make_shared<Storage>(bytes);
    host->allocate();
    auto gate = std::make_shared<Gate>();
    const bool to_host = to->queue->owns(*host);
    *out = new_handle(to->queue, to_host ? host : to->queue->make_storage(bytes));
    // The storage is kept until its bytes are there, whatever becomes of the other queue.
    from->queue->push_read(std::move(source), host->data(), [gate, host](const Failure *failure) { gate->open(failure); });
    to->queue->push_upload(to_host ? nullptr : host, (*out)->storage, gate);
  });
}

wm_status fence(wm_executor *executor, wm_done done, void *user) {
  return guarded([&] { executor->queue->push_fence(to_completion(done, user)); });
}

wm_status synchronise(wm_executor *executor) {
  return guarded([&] { executor->queue->synchronise(); });
}

wm_token *token_create() { return new wm_token{std::make_shared<CancelToken>()}; }
void token_cancel(wm_token *token) { token->token->cancel(); }
void token_free(wm_token *token) { delete token; }

wm_status mapped_open(const char *path, wm_mapped **out) {
  return guarded([&] { *out = new wm_mapped{MappedFile::open(path)}; });
}
uint64_t mapped_size(const wm_mapped *mapped) { return mapped->file->size(); }
void mapped_free(wm_mapped *mapped) { delete mapped; }

void memory(wm_memory *out) {
  const MemoryStats stats = Arena::instance().stats();
  *out = {stats.live_bytes, stats.cached_bytes, stats.peak_bytes};
}
void memory_trim() { Arena::instance().trim(); }
void memory_reset_peak() { Arena::instance().reset_peak(); }
int32_t threads() { return ThreadPool::instance().size(); }
void set_threads(int32_t count) { ThreadPool::instance().resize(count); }

int32_t op_count() { return static_cast<int32_t>(list_cpu_ops().size()); }
const char *op_name(int32_t index) {
  const auto ops = list_cpu_ops();
  return index >= 0 && index < static_cast<int32_t>(ops.size()) ? ops[static_cast<size_t>(index)]->name : nullptr;
}
const char *cpu_tier() { return isa_name(cpu_isa()); }

wm_status host_call(const char *name, const wm_bytes *inputs, int32_t num_inputs, const double *attrs, int32_t num_attrs,
                    wm_token *token, wm_host_result **out) {
  return guarded([&] {
    const HostEntry *entry = find_host_op(name);
    if (entry == nullptr) fail(Status::usage, "no host algorithm '%s'", name);
    auto result = std::make_unique<wm_host_result>();
    for (int32_t i = 0; i < num_inputs; ++i) {
      result->call.inputs.push_back({static_cast<const uint8_t *>(inputs[i].data), inputs[i].size});
    }
    result->call.attrs.assign(attrs, attrs + num_attrs);
    result->call.cancel = token != nullptr ? token->token.get() : nullptr;
    entry->function(result->call);
    *out = result.release();
  });
}
int32_t host_result_count(const wm_host_result *result) { return static_cast<int32_t>(result->call.outputs.size()); }
wm_bytes host_result_bytes(const wm_host_result *result, int32_t index) {
  const auto &bytes = result->call.outputs[static_cast<size_t>(index)];
  return {bytes.data(), bytes.size()};
}
void host_result_free(wm_host_result *result) { delete result; }

wm_status backend_report(const char *name, const char *directory, wm_backend_report *out) {
  return guarded([&] {
    thread_local BackendStatus status;
    status = load_backend(name, directory);
    int32_t devices = 0;
    if (status.table != nullptr && status.table->device_count(&devices) != WM_OK) devices = 0;
    *out = {status.table != nullptr ? 1 : 0, devices, status.step.c_str(), status.reason.c_str(), status.remedy.c_str()};
  });
}

const wm_api table = {
    WM_ABI, sizeof(wm_api), last_error_text, cpu_tier, executor_create, executor_free, run, storage_from_host,
    storage_from_external, storage_from_mapped, storage_retain, storage_release, storage_bytes, read, fence, synchronise,
    token_create, token_cancel, token_free, mapped_open, mapped_size, mapped_free, memory, memory_trim, memory_reset_peak,
    threads, set_threads, op_count, op_name, host_call, host_result_count, host_result_bytes, host_result_free,
    backend_report, transfer, device_report, device_open, device_memory, device_trim, device_reset_peak, device_has_op,
    storage_borrow, dlpack_import, dlpack_export, program_begin, program_op, program_end, program_run, program_bytes,
    program_free, attention, window_merge, dense_crf,
};

}  // namespace

}  // namespace wm

extern "C" const wm_api *wm_get_api(uint32_t abi) { return abi == WM_ABI ? &wm::table : nullptr; }
