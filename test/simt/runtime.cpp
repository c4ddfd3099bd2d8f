// The CUDA runtime of the emulated device: host memory, streams that have always finished. It stands in for what
// cuda/core calls, so that the module's own context, allocator and op table are what the tests run.
//
// Faults on request, for tests of what follows them: WORDMASK_SIMT_MEMORY=BYTES limits what may be live at once;
// WORDMASK_SIMT_FAULT=CALL:N:ERROR makes the N-th call (from 1) of cudaGetDeviceCount ("count"), cudaMallocFromPoolAsync
// ("malloc"), cudaMemcpyAsync ("copy") or a kernel ("launch") fail with a runtime error number; WORDMASK_SIMT_DEVICES=N is the
// device count.
// WORDMASK_SIMT_CAPABILITY=90 makes it a device of compute capability 9.0, else it is one of 8.0.
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <unordered_map>

#include "test/simt/faults.h"

struct SimtStream {};
struct SimtEvent {};
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
  *pool = new (std::nothrow) SimtPool{properties->location.id};
  return *pool != nullptr ? cudaSuccess : keep(cudaErrorMemoryAllocation);
}

cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool) {
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

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) { return cudaSuccess; }

cudaError_t cudaMallocFromPoolAsync(void **out, size_t bytes, cudaMemPool_t pool, cudaStream_t) {
  *out = nullptr;
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

cudaError_t cudaFreeAsync(void *data, cudaStream_t) {
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
  *out = std::malloc(bytes);
  return *out != nullptr || bytes == 0 ? cudaSuccess : keep(cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void *data) {
  std::free(data);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  const cudaError_t fault = injected_fault("copy");
  if (fault != cudaSuccess) return keep(fault);
  if (bytes > 0) std::memcpy(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *data, int value, size_t bytes, cudaStream_t) {
  if (bytes > 0) std::memset(data, value, bytes);
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
  *stream = new (std::nothrow) SimtStream;
  return *stream != nullptr ? cudaSuccess : keep(cudaErrorMemoryAllocation);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
  *event = new (std::nothrow) SimtEvent;
  return *event != nullptr ? cudaSuccess : keep(cudaErrorMemoryAllocation);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventQuery(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
