// Partial rows joined column by column in a fixed order: the second stage of reductions whose first stage cuts by the
// problem's size.
#pragma once

#include "cuda/core/op.h"

namespace wm::cuda {

// A sum, or (kExtreme) a maximum that keeps NaN.
template <bool kExtreme>
__device__ __forceinline__ float join(float a, float b) {
  if constexpr (kExtreme) return a > b || a != a ? a : b;
  else return a + b;
}

constexpr int kJoinColumns = 32, kJoinSlices = 16;

// partial: `parts` rows of `columns` values, `stride` apart -> out [columns] (=), divided by `divisor`. 32 columns a block; of
// the 16 threads of a column thread s joins the parts s, s + 16, ...; the 16 results are joined in order. 2 KiB shared.
template <class Out, bool kExtreme>
__global__ void __launch_bounds__(kJoinColumns *kJoinSlices)
join_parts_kernel(const float *partial, int64_t parts, int64_t stride, int64_t columns, float divisor, Out *out) {
  __shared__ float shared[kJoinSlices][kJoinColumns];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kJoinColumns + threadIdx.x;
  float value = kExtreme ? -INFINITY : 0.0f;
  if (column < columns) {
#pragma unroll 4
    for (int64_t p = threadIdx.y; p < parts; p += kJoinSlices)
      value = join<kExtreme>(value, partial[p * stride + column]);
  }
  shared[threadIdx.y][threadIdx.x] = value;
  __syncthreads();
  if (threadIdx.y == 0 && column < columns) {
    for (int s = 1; s < kJoinSlices; ++s) value = join<kExtreme>(value, shared[s][threadIdx.x]);
    out[column] = from_float<Out>(value / divisor);
  }
}

template <class Out, bool kExtreme = false>
void join_parts(LaunchCall &call, const float *partial, int64_t parts, int64_t stride, int64_t columns, float divisor,
                Out *out) {
  WM_LAUNCH((join_parts_kernel<Out, kExtreme>), dim3(blocks_for(columns, kJoinColumns)),
            dim3(kJoinColumns, kJoinSlices), 0, call.stream(), partial, parts, stride, columns, divisor, out);
}

}  // namespace wm::cuda
