// Sums and maxima over a warp and over a block in one fixed order: butterflies inside warps, then the first warp over
// the warps' results. All threads get the same value.
#pragma once

#include "cuda/core/simt.h"

namespace wm::cuda {

// A butterfly adds the same two values in both lanes of a pair, so every lane ends with the same bits.
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  for (int bits = kWarp / 2; bits > 0; bits /= 2) value += __shfl_xor_sync(kFullMask, value, bits);
  return value;
}

// fmaxf drops a NaN in either place, so all lanes agree here too.
__device__ __forceinline__ float larger(float a, float b) { return fmaxf(a, b); }
template <class T>
__device__ __forceinline__ T larger(T a, T b) { return a < b ? b : a; }

template <class T>
__device__ __forceinline__ T warp_max(T value) {
  for (int bits = kWarp / 2; bits > 0; bits /= 2) value = larger(value, __shfl_xor_sync(kFullMask, value, bits));
  return value;
}

namespace detail {

__device__ __forceinline__ int thread_number() {
  return static_cast<int>(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
}

// `shared` holds a value a warp, at most 32; free for other use when the function returns.
template <class T, class F>
__device__ __forceinline__ T block_combine(T value, T *shared, T neutral, F combine_warp) {
  const int thread = thread_number();
  const int warps = static_cast<int>(blockDim.x * blockDim.y * blockDim.z + kWarp - 1) / kWarp;
  value = combine_warp(value);
  if (thread % kWarp == 0) shared[thread / kWarp] = value;
  __syncthreads();
  // Every warp combines for itself: no second round trip through shared memory.
  const int lane = thread % kWarp;
  value = combine_warp(lane < warps ? shared[lane] : neutral);
  __syncthreads();
  return value;
}

struct WarpSum {
  template <class T>
  __device__ __forceinline__ T operator()(T value) const { return warp_sum(value); }
};
struct WarpMax {
  template <class T>
  __device__ __forceinline__ T operator()(T value) const { return warp_max(value); }
};

}  // namespace detail

// The block has whole warps; `shared` 32 values.
template <class T>
__device__ __forceinline__ T block_sum(T value, T *shared) {
  return detail::block_combine(value, shared, T{0}, detail::WarpSum{});
}

// -infinity where no thread has more.
__device__ __forceinline__ float block_max(float value, float *shared) {
  return detail::block_combine(value, shared, -INFINITY, detail::WarpMax{});
}

}  // namespace wm::cuda
