// The CUDA runtime of the emulated device: host memory, streams that have always finished. It stands in for what
// cuda/core calls, so that the module's own context, allocator and op table are what the tests run.
//
// Faults on request, for tests of what follows them: WORDMASK_SIMT_MEMORY=BYTES limits what may be live at once;
// WORDMASK_SIMT_FAULT=CALL:N:ERROR makes the N-th call (from 1) of cudaGetDeviceCount ("count"), cudaMallocFromPoolAsync
// ("malloc"), cudaMemcpyAsync ("copy"), a kernel ("launch"), the end of a capture ("capture") or the launch of a graph ("graph")
// fail with a runtime error number; WORDMASK_SIMT_DEVICES=N is the device count.
// WORDMASK_SIMT_CAPABILITY=90 makes it a device of compute capability 9.0, else it is one of 8.0.
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <unordered_map>
#include <vector>

#include "native/core/status.h"
#include "test/simt/faults.h"

struct SimtGraph;
struct SimtStream {
  SimtGraph *capture = nullptr;  // what it notes, while it does
  bool invalid = false;          // the capture met something forbidden
  std::thread::id thread;        // that began it
};
struct SimtEvent {
  bool captured = false;  // recorded last in a capture: of no use outside it
};
// Work in the order of its capture.
struct SimtGraph {
  std::vector<std::function<void()>> work;
};
struct SimtGraphExec {
  std::shared_ptr<const SimtGraph> graph;
};
struct SimtPool {
  int device = 0;
  uint64_t live = 0, peak = 0;
};

namespace {

constexpr uint64_t kTotalBytes = uint64_t{8} << 30;

std::mutex mutex;
struct Block {
  size_t bytes;
  SimtPool *pool;
};
std::unordered_map<void *, Block> blocks;
thread_local cudaError_t last = cudaSuccess;

cudaError_t keep(cudaError_t error) {
  if (error != cudaSuccess) last = error;
  return error;
}

// The capture of this thread, which calls that could touch it end: CUDA's thread-local mode.
thread_local SimtStream *own_capture = nullptr;

cudaError_t spoil(SimtStream *stream, cudaError_t error) {
  stream->invalid = true;
  return keep(error);
}

// For calls that a thread may not make while it captures.
#define WM_NOT_WHILE_CAPTURING() \
  if (own_capture != nullptr) return spoil(own_capture, cudaErrorStreamCaptureUnsupported)

// Does it now, or notes it.
cudaError_t perform(SimtStream *stream, std::function<void()> work) {
  if (stream == nullptr || stream->capture == nullptr) work();
  else if (stream->invalid) return keep(cudaErrorStreamCaptureInvalidated);
  else stream->capture->work.push_back(std::move(work));
  return cudaSuccess;
}

int device_count() {
  const char *text = std::getenv("WORDMASK_SIMT_DEVICES");
  return text == nullptr ? 1 : std::atoi(text);
}

// 80, or 90 for the kernels of Hopper's instructions.
int device_capability() {
  const char *text = std::getenv("WORDMASK_SIMT_CAPABILITY");
  return text != nullptr && std::strcmp(text, "90") == 0 ? 90 : 80;
}

uint64_t memory_limit() {
  const char *text = std::getenv("WORDMASK_SIMT_MEMORY");
  return text == nullptr ? kTotalBytes : std::strtoull(text, nullptr, 10);
}

uint64_t live_bytes() {
  uint64_t sum = 0;
  for (const auto &block : blocks) sum += block.second.bytes;
  return sum;
}

}  // namespace

namespace wm::simt {

cudaError_t injected_fault(const char *call) {
  static std::mutex fault_mutex;
  static std::unordered_map<std::string, int> counts;
  const char *text = std::getenv("WORDMASK_SIMT_FAULT");
  if (text == nullptr) return cudaSuccess;
  const std::lock_guard<std::mutex> lock(fault_mutex);
  char name[32];
  int number = 0, error = 0;
  if (std::sscanf(text, "%31[^:]:%d:%d", name, &number, &error) != 3 || std::strcmp(name, call) != 0) return cudaSuccess;
  return ++counts[text] == number ? static_cast<cudaError_t>(error) : cudaSuccess;
}

bool captures(cudaStream_t stream) { return stream != nullptr && stream->capture != nullptr; }

cudaError_t note(cudaStream_t stream, std::function<void()> work) { return perform(stream, std::move(work)); }

}  // namespace wm::simt

using wm::simt::injected_fault;

cudaError_t cudaGetDeviceCount(int *count) {
  *count = 0;
  const cudaError_t fault = injected_fault("count");
  if (fault != cudaSuccess) return keep(fault);
  *count = device_count();
  return *count > 0 ? cudaSuccess : keep(cudaErrorNoDevice);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
  if (device < 0 || device >= device_count()) return keep(cudaErrorInvalidDevice);
  std::memset(properties, 0, sizeof *properties);
  std::snprintf(properties->name, sizeof properties->name, "emulated device");
  const int capability = device_capability();
  properties->major = capability / 10;
  properties->minor = capability % 10;
  properties->multiProcessorCount = 4;
  properties->totalGlobalMem = memory_limit();
  properties->sharedMemPerBlockOptin = (capability == 90 ? 227 : 163) * 1024;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) { return device >= 0 && device < device_count() ? cudaSuccess : keep(cudaErrorInvalidDevice); }

cudaError_t cudaDriverGetVersion(int *version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) { return cudaDriverGetVersion(version); }

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
  const std::lock_guard<std::mutex> lock(mutex);
  *total_bytes = memory_limit();
  const uint64_t live = live_bytes();
  *free_bytes = live < *total_bytes ? *total_bytes - live : 0;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = last;
  last = cudaSuccess;
  return error;
}

const char *cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
    case cudaErrorInsufficientDriver: return "CUDA driver version is insufficient for CUDA runtime version";
    default: return "emulated failure";
  }
}

const char *cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    case cudaErrorInsufficientDriver: return "cudaErrorInsufficientDriver";
    default: return "cudaError";
  }
}

cudaError_t cudaMemPoolCreate(cudaMemPool_t *pool, const cudaMemPoolProps *properties) {
  WM_NOT_WHILE_CAPTURING();
  *pool = new (std::nothrow) SimtPool{properties->location.id};
  return *pool != nullptr ? cudaSuccess : keep(cudaErrorMemoryAllocation);
}

cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool) {
  WM_NOT_WHILE_CAPTURING();
  const std::lock_guard<std::mutex> lock(mutex);
  for (auto block = blocks.begin(); block != blocks.end();) {
    if (block->second.pool != pool) {
      ++block;
      continue;
    }
    std::free(block->first);
    block = blocks.erase(block);
  }
  delete pool;
  return cudaSuccess;
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void *) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (attribute == cudaMemPoolAttrUsedMemHigh) pool->peak = pool->live;
  return cudaSuccess;
}

cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void *value) {
  const std::lock_guard<std::mutex> lock(mutex);
  const bool peak = attribute == cudaMemPoolAttrUsedMemHigh || attribute == cudaMemPoolAttrReservedMemHigh;
  *static_cast<uint64_t *>(value) = peak ? pool->peak : pool->live;
  return cudaSuccess;
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) {
  WM_NOT_WHILE_CAPTURING();
  return cudaSuccess;
}

// In a capture CUDA would make it a node whose memory is the graph's; the module has no use for that.
cudaError_t cudaMallocFromPoolAsync(void **out, size_t bytes, cudaMemPool_t pool, cudaStream_t stream) {
  *out = nullptr;
  if (wm::simt::captures(stream)) return spoil(stream, cudaErrorStreamCaptureUnsupported);
  const cudaError_t fault = injected_fault("malloc");
  if (fault != cudaSuccess) return keep(fault);
  const std::lock_guard<std::mutex> lock(mutex);
  if (bytes > memory_limit() || live_bytes() > memory_limit() - bytes) return keep(cudaErrorMemoryAllocation);
  // Exactly the bytes asked for, so that a sanitizer sees one element too many.
  if (posix_memalign(out, 256, bytes) != 0) return keep(cudaErrorMemoryAllocation);
  std::memset(*out, 0xff, bytes);
  blocks[*out] = {bytes, pool};
  pool->live += bytes;
  if (pool->live > pool->peak) pool->peak = pool->live;
  return cudaSuccess;
}

cudaError_t cudaFreeAsync(void *data, cudaStream_t stream) {
  if (wm::simt::captures(stream)) return spoil(stream, cudaErrorStreamCaptureUnsupported);
  const std::lock_guard<std::mutex> lock(mutex);
  const auto block = blocks.find(data);
  if (block == blocks.end()) return keep(cudaErrorInvalidValue);
  block->second.pool->live -= block->second.bytes;
  blocks.erase(block);
  std::free(data);
  return cudaSuccess;
}

// The device that allocated it. The host's memory is every device's: any other address is taken.
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *data) {
  *attributes = {cudaMemoryTypeManaged, 0};
  const std::lock_guard<std::mutex> lock(mutex);
  const auto *address = static_cast<const char *>(data);
  for (const auto &block : blocks) {
    const auto *first = static_cast<const char *>(block.first);
    if (address >= first && address < first + block.second.bytes) *attributes = {cudaMemoryTypeDevice, block.second.pool->device};
  }
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned) {
  WM_NOT_WHILE_CAPTURING();
  *out = std::malloc(bytes);
  return *out != nullptr || bytes == 0 ? cudaSuccess : keep(cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void *data) {
  WM_NOT_WHILE_CAPTURING();
  std::free(data);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  const cudaError_t fault = injected_fault("copy");
  if (fault != cudaSuccess) return keep(fault);
  if (bytes == 0) return cudaSuccess;
  return perform(stream, [=] { std::memcpy(to, from, bytes); });
}

cudaError_t cudaMemsetAsync(void *data, int value, size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  return perform(stream, [=] { std::memset(data, value, bytes); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
  *stream = new (std::nothrow) SimtStream;
  return *stream != nullptr ? cudaSuccess : keep(cudaErrorMemoryAllocation);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return wm::simt::captures(stream) ? spoil(stream, cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  // A capture depends on nothing outside it, and nothing outside on it.
  if (wm::simt::captures(stream) != event->captured) {
    if (wm::simt::captures(stream)) return spoil(stream, cudaErrorStreamCaptureIsolation);
    return keep(cudaErrorStreamCaptureIsolation);
  }
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
  *event = new (std::nothrow) SimtEvent;
  return *event != nullptr ? cudaSuccess : keep(cudaErrorMemoryAllocation);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->captured = wm::simt::captures(stream);
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  WM_NOT_WHILE_CAPTURING();
  return event->captured ? keep(cudaErrorCapturedEvent) : cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  WM_NOT_WHILE_CAPTURING();
  return event->captured ? keep(cudaErrorCapturedEvent) : cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream == nullptr) return keep(cudaErrorStreamCaptureUnsupported);
  if (stream->capture != nullptr) return keep(cudaErrorIllegalState);
  stream->capture = new SimtGraph;
  stream->invalid = false;
  stream->thread = std::this_thread::get_id();
  own_capture = stream;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  *graph = nullptr;
  if (!wm::simt::captures(stream)) return keep(cudaErrorIllegalState);
  if (stream->thread != std::this_thread::get_id()) return keep(cudaErrorStreamCaptureWrongThread);
  std::unique_ptr<SimtGraph> captured(stream->capture);
  stream->capture = nullptr;
  own_capture = nullptr;
  const cudaError_t fault = injected_fault("capture");
  if (fault != cudaSuccess) return keep(fault);
  if (stream->invalid) return keep(cudaErrorStreamCaptureInvalidated);
  *graph = captured.release();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
  *exec = new SimtGraphExec{std::make_shared<const SimtGraph>(*graph)};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (wm::simt::captures(stream)) return spoil(stream, cudaErrorStreamCaptureUnsupported);
  const cudaError_t fault = injected_fault("graph");
  if (fault != cudaSuccess) return keep(fault);
  try {
    for (const auto &work : exec->graph->work) work();
  } catch (const wm::Error &error) {
    // A kernel that fails in a graph fails the stream.
    return keep(error.status() == wm::Status::memory ? cudaErrorMemoryAllocation : cudaErrorLaunchFailure);
  }
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}
