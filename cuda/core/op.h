// The op table of the device module and what a launcher receives: the device's twin of native/core/op.h.
//
// A launcher is a function void(LaunchCall &) that queues kernels on call.stream() and returns without waiting. Views
// point to device memory; only their shapes may be read on the host. A launcher throws wm::Error on what it cannot take.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/core/half.cuh"
#include "cuda/core/kept.h"
#include "cuda/core/simt.h"
#include "cuda/core/verdict.h"
#include "native/core/op.h"
#include "native/core/refused_values.h"
#include "native/core/tensor_view.h"

struct wm_context;
struct wm_stream;

namespace wm::cuda {

// What of a device a launcher asks for.
struct DeviceLimits {
  int multiprocessors;
  int capability;    // 90 for compute capability 9.0
  int shared_bytes;  // that one block may opt in to
};

class LaunchCall : public OpArguments {
 public:
  LaunchCall(const char *name, wm_stream *stream, const DeviceLimits &limits, const TensorView *inputs, int num_inputs,
             const TensorView *outputs, int num_outputs, const double *attrs, int num_attrs)
      : OpArguments(name, inputs, num_inputs, outputs, num_outputs, attrs, num_attrs), stream_(stream), limits_(limits) {}
  // Returns the workspace in stream order: kernels queued before may still use it.
  ~LaunchCall();

  cudaStream_t stream() const;
  int multiprocessors() const { return limits_.multiprocessors; }
  int capability() const { return limits_.capability; }
  size_t shared_limit() const { return static_cast<size_t>(limits_.shared_bytes); }
  // 1 portable, 2 mma.sync (8.0 and later), 3 wgmma and TMA (9.0 exactly); WORDMASK_CUDA_TIER lowers it, for tests.
  int tier() const;

  // Device memory, 256-byte aligned, uninitialised.
  template <class T>
  T *workspace(int64_t count) {
    return static_cast<T *>(workspace_bytes(static_cast<uint64_t>(count) * sizeof(T)));
  }
  void *workspace_bytes(uint64_t bytes);
  void zero(void *data, uint64_t bytes);

  // Memory that may stay for later calls on this stream: null unless one left it under the key.
  void *find_kept(const KeptKey &key);
  // As workspace_bytes, for what keep() is to leave there once it is queued to be filled.
  void *keepable_bytes(uint64_t bytes);
  void keep(const KeptKey &key, const void *data);

  // For values on the device, which only kernels can look at: where they tell of the lowest that is refused, and how its
  // failure reads (the op's name goes in front). Several are asked in the order of these calls. `refuses` is for positions
  // alone, `refuses_values` for those with numbers that stood there.
  Refusal refuses(DescribeRefusal describe, Status status = Status::option) { return refusal(false, status, std::move(describe)); }
  Refusal refuses_values(DescribeRefusal describe) { return refusal(true, Status::option, std::move(describe)); }
  std::unique_ptr<wm_verdict> take_verdict() { return std::move(verdict_); }

 private:
  wm_stream *stream_;
  DeviceLimits limits_;
  uint64_t taken_ = 0;  // of workspace
  std::vector<void *> blocks_;
  std::vector<std::shared_ptr<KeptBlock>> kept_;  // in use by this call
  std::unique_ptr<wm_verdict> verdict_;

  Refusal refusal(bool with_values, Status status, DescribeRefusal describe);
};

using LaunchFunction = void (*)(LaunchCall &);

struct CudaOpEntry {
  const char *name;
  LaunchFunction function;
  uint32_t flags;  // wm::OpFlags
};

const CudaOpEntry *find_cuda_op(const char *name);
void register_cuda_op(const CudaOpEntry *entry);

struct CudaOpRegistration {
  explicit CudaOpRegistration(const CudaOpEntry *entry) { register_cuda_op(entry); }
};

#define WM_REGISTER_CUDA_OP(op_name, function, flags)                                         \
  static const ::wm::cuda::CudaOpEntry wm_cuda_entry_##op_name = {#op_name, function, flags}; \
  static const ::wm::cuda::CudaOpRegistration wm_cuda_registration_##op_name(&wm_cuda_entry_##op_name);

// Where kernels tell of indices outside 0..count-1, by position and value.
inline Refusal refuse_index(LaunchCall &call, int64_t count) {
  return call.refuses_values([count](const RefusedValue &seen) { return refused_index(seen.value[0], seen.position, count); });
}

// Calls body with a value of the C++ type of f32, bf16 or f16. The f64 of gradient checks is the CPU's alone.
template <class F>
void dispatch_float(const LaunchCall &call, DType dtype, F &&body) {
  switch (dtype) {
    case DType::f32: return body(float{});
    case DType::bf16: return body(bf16{});
    case DType::f16: return body(f16{});
    default: call.reject("takes f32, bf16 or f16 on this device, got %s; f64 works on the cpu", dtype_name(dtype));
  }
}

// Blocks that cover n items; throws where a grid's x cannot hold them.
inline unsigned blocks_for(int64_t items, int64_t per_block) {
  const int64_t blocks = (items + per_block - 1) / per_block;
  if (blocks > 0x7fffffff) fail(Status::option, "%lld blocks do not fit a grid", static_cast<long long>(blocks));
  return static_cast<unsigned>(blocks);
}

}  // namespace wm::cuda
