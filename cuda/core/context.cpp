#include "cuda/core/context.h"

#include <atomic>
#include <cstdio>
#include <cstring>
#include <new>

namespace wm::cuda {

namespace {

// Images in the module: sm_80, sm_90a, and PTX of compute_90 for what comes after.
constexpr int kLowestMajor = 8;

// cudaEventBlockingSync: a thread that waits for an event sleeps. Spinning would take a core from the host's own work.
constexpr unsigned kBlockingSync = 1;

// Blocks beyond this go back to the device at the next synchronisation.
constexpr uint64_t kKeptBytes = uint64_t{2} << 30;

#define WM_ENTER(context)                                  \
  do {                                                     \
    const wm_status wm_entered = enter(context);           \
    if (wm_entered != WM_OK) return wm_entered;            \
  } while (0)

// Devices that have a context: free memory is asked there alone, since asking makes one.
std::atomic<uint64_t> opened{0};

uint64_t bit_of(int32_t device) { return device >= 0 && device < 64 ? uint64_t{1} << device : 0; }

wm_status pool_value(cudaMemPool_t pool, cudaMemPoolAttr attribute, uint64_t *value) {
  WM_TRY(cudaMemPoolGetAttribute(pool, attribute, value));
  return WM_OK;
}

wm_status fill_info(int32_t device, wm_device_info *info) {
  cudaDeviceProp properties;
  WM_TRY(cudaGetDeviceProperties(&properties, device));
  std::snprintf(info->name, sizeof info->name, "%s", properties.name);
  info->capability_major = properties.major;
  info->capability_minor = properties.minor;
  info->multiprocessors = properties.multiProcessorCount;
  info->total_bytes = properties.totalGlobalMem;
  WM_TRY(cudaDriverGetVersion(&info->driver_version));
  WM_TRY(cudaRuntimeGetVersion(&info->runtime_version));
  if ((opened.load() & bit_of(device)) != 0 && !device_lost()) {
    size_t free_bytes = 0, total_bytes = 0;
    WM_TRY(cudaSetDevice(device));
    WM_TRY(cudaMemGetInfo(&free_bytes, &total_bytes));
    info->free_bytes = free_bytes;
  }
  info->usable = properties.major >= kLowestMajor;
  if (!info->usable) {
    std::snprintf(info->reason, sizeof info->reason, "compute capability %d.%d, this build needs %d.0 or higher",
                  properties.major, properties.minor, kLowestMajor);
  }
  return WM_OK;
}

}  // namespace

// Calls of one table come from several threads, and the current device belongs to the thread.
wm_status enter(const wm_context *context) {
  if (device_lost()) return fail(WM_ERR_DEVICE_LOST, "the device was lost by an earlier failure; restart the process");
  WM_TRY(cudaSetDevice(context->device));
  return WM_OK;
}

wm_status device_count(int32_t *count) {
  *count = 0;
  const cudaError_t error = cudaGetDeviceCount(count);
  if (error == cudaErrorNoDevice) {
    cudaGetLastError();
    return WM_OK;
  }
  WM_TRY(error);
  return WM_OK;
}

wm_status device_info(int32_t device, wm_device_info *info) {
  if (info->size < sizeof(wm_device_info)) return fail(WM_ERR_USAGE, "device_info: struct of %u bytes", info->size);
  const uint32_t size = info->size;
  std::memset(info, 0, sizeof *info);
  info->size = size;
  return fill_info(device, info);
}

wm_status context_create(int32_t device, wm_context **out) {
  *out = nullptr;
  wm_device_info info{};
  info.size = sizeof info;
  const wm_status status = device_info(device, &info);
  if (status != WM_OK) return status;
  if (!info.usable) return fail(WM_ERR_DEVICE, "cuda:%d cannot be used: %s", device, info.reason);
  cudaDeviceProp device_properties;
  WM_TRY(cudaGetDeviceProperties(&device_properties, device));
  const int shared_bytes = static_cast<int>(device_properties.sharedMemPerBlockOptin);
  WM_TRY(cudaSetDevice(device));
  cudaMemPoolProps properties{};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location.type = cudaMemLocationTypeDevice;
  properties.location.id = device;
  cudaMemPool_t pool = nullptr;
  WM_TRY(cudaMemPoolCreate(&pool, &properties));
  uint64_t kept = kKeptBytes;
  const cudaError_t set = cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept);
  const DeviceLimits limits{info.multiprocessors, info.capability_major * 10 + info.capability_minor, shared_bytes};
  wm_context *context = set == cudaSuccess ? new (std::nothrow) wm_context{device, pool, limits, {}, {}} : nullptr;
  if (context == nullptr) {
    cudaMemPoolDestroy(pool);
    WM_TRY(set);
    return fail(WM_ERR_MEMORY, "out of host memory");
  }
  opened |= bit_of(device);
  *out = context;
  return WM_OK;
}

void context_free(wm_context *context) {
  if (context == nullptr) return;
  if (cudaSetDevice(context->device) == cudaSuccess) cudaMemPoolDestroy(context->pool);
  delete context;
}

wm_status stream_create(wm_context *context, wm_stream **out) {
  *out = nullptr;
  WM_ENTER(context);
  cudaStream_t handle = nullptr;
  WM_TRY(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking));
  *out = new (std::nothrow) wm_stream{context, handle, nullptr};
  if (*out != nullptr) return WM_OK;
  cudaStreamDestroy(handle);
  return fail(WM_ERR_MEMORY, "out of host memory");
}

void stream_free(wm_stream *stream) {
  if (stream == nullptr) return;
  stream->context->kept.drop(stream);
  if (cudaSetDevice(stream->context->device) == cudaSuccess) cudaStreamDestroy(stream->handle);
  delete stream;
}

wm_status stream_synchronise(wm_stream *stream) {
  WM_ENTER(stream->context);
  WM_TRY(cudaStreamSynchronize(stream->handle));
  return WM_OK;
}

wm_status stream_wait(wm_stream *stream, wm_event *event) {
  WM_ENTER(stream->context);
  WM_TRY(cudaStreamWaitEvent(stream->handle, event->handle, 0));
  return WM_OK;
}

wm_status event_create(wm_context *context, wm_event **out) {
  *out = nullptr;
  WM_ENTER(context);
  cudaEvent_t handle = nullptr;
  WM_TRY(cudaEventCreateWithFlags(&handle, cudaEventDisableTiming | kBlockingSync));
  *out = new (std::nothrow) wm_event{context, handle};
  if (*out != nullptr) return WM_OK;
  cudaEventDestroy(handle);
  return fail(WM_ERR_MEMORY, "out of host memory");
}

void event_free(wm_event *event) {
  if (event == nullptr) return;
  if (cudaSetDevice(event->context->device) == cudaSuccess) cudaEventDestroy(event->handle);
  delete event;
}

wm_status event_record(wm_event *event, wm_stream *stream) {
  WM_ENTER(stream->context);
  WM_TRY(cudaEventRecord(event->handle, stream->handle));
  return WM_OK;
}

wm_status event_done(wm_event *event, int32_t *done) {
  WM_ENTER(event->context);
  const cudaError_t state = cudaEventQuery(event->handle);
  *done = state == cudaSuccess;
  if (state != cudaErrorNotReady) WM_TRY(state);
  return WM_OK;
}

wm_status event_synchronise(wm_event *event) {
  WM_ENTER(event->context);
  WM_TRY(cudaEventSynchronize(event->handle));
  return WM_OK;
}

wm_status memory_alloc(wm_stream *stream, uint64_t bytes, void **out) {
  *out = nullptr;
  WM_ENTER(stream->context);
  if (bytes == 0) return WM_OK;
  WM_TRY(cudaMallocFromPoolAsync(out, bytes, stream->context->pool, stream->handle));
  return WM_OK;
}

wm_status memory_release(wm_stream *stream, void *data) {
  if (data == nullptr) return WM_OK;
  WM_ENTER(stream->context);
  WM_TRY(cudaFreeAsync(data, stream->handle));
  return WM_OK;
}

wm_status memory_trim(wm_context *context) {
  WM_ENTER(context);
  context->kept.drop(nullptr);
  WM_TRY(cudaMemPoolTrimTo(context->pool, 0));
  return WM_OK;
}

wm_status memory_stats(wm_context *context, wm_memory *stats) {
  WM_ENTER(context);
  uint64_t reserved = 0;
  wm_status status = pool_value(context->pool, cudaMemPoolAttrReservedMemCurrent, &reserved);
  if (status == WM_OK) status = pool_value(context->pool, cudaMemPoolAttrUsedMemCurrent, &stats->live_bytes);
  if (status == WM_OK) status = pool_value(context->pool, cudaMemPoolAttrUsedMemHigh, &stats->peak_bytes);
  if (status != WM_OK) return status;
  // What is kept for later calls is nobody's, and goes back when memory is short.
  const uint64_t kept = context->kept.bytes();
  stats->live_bytes -= kept < stats->live_bytes ? kept : stats->live_bytes;
  stats->cached_bytes = reserved - stats->live_bytes;
  return status;
}

wm_status memory_reset_peak(wm_context *context) {
  WM_ENTER(context);
  uint64_t zero = 0;  // the only value that the attribute takes: the peak becomes what is used now
  WM_TRY(cudaMemPoolSetAttribute(context->pool, cudaMemPoolAttrUsedMemHigh, &zero));
  return WM_OK;
}

wm_status memory_borrow(wm_stream *stream, const void *data, uint64_t bytes, void *lender) {
  const int device = stream->context->device;
  WM_ENTER(stream->context);
  if (bytes > 0) {
    cudaPointerAttributes at{};
    WM_TRY(cudaPointerGetAttributes(&at, data));
    const bool here = at.type == cudaMemoryTypeManaged || (at.type == cudaMemoryTypeDevice && at.device == device);
    if (!here && at.type == cudaMemoryTypeDevice) {
      return fail(WM_ERR_DEVICE, "the memory lies on cuda:%d, not on cuda:%d: copy it first", at.device, device);
    }
    if (!here) return fail(WM_ERR_DEVICE, "host memory where memory of cuda:%d was announced", device);
  }
  if (lender == nullptr) return WM_OK;
  cudaEvent_t event = nullptr;
  WM_TRY(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  cudaError_t error = cudaEventRecord(event, static_cast<cudaStream_t>(lender));
  if (error == cudaSuccess) error = cudaStreamWaitEvent(stream->handle, event, 0);
  cudaEventDestroy(event);  // what waits for it goes on waiting
  WM_TRY(error);
  return WM_OK;
}

wm_status host_alloc(wm_context *context, uint64_t bytes, void **out) {
  *out = nullptr;
  WM_ENTER(context);
  WM_TRY(cudaHostAlloc(out, bytes, cudaHostAllocDefault));
  return WM_OK;
}

void host_free(wm_context *context, void *data) {
  if (data != nullptr && cudaSetDevice(context->device) == cudaSuccess) cudaFreeHost(data);
}

wm_status copy_in(wm_stream *stream, void *device, const void *host, uint64_t bytes) {
  WM_ENTER(stream->context);
  WM_TRY(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream->handle));
  return WM_OK;
}

wm_status copy_out(wm_stream *stream, void *host, const void *device, uint64_t bytes) {
  WM_ENTER(stream->context);
  WM_TRY(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream->handle));
  return WM_OK;
}

wm_status copy_within(wm_stream *stream, void *destination, const void *source, uint64_t bytes) {
  WM_ENTER(stream->context);
  WM_TRY(cudaMemcpyAsync(destination, source, bytes, cudaMemcpyDeviceToDevice, stream->handle));
  return WM_OK;
}

}  // namespace wm::cuda
