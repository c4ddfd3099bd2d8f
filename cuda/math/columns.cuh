// Sums of f32 partial rows, column by column in a fixed order: the second stage of reductions over rows.
#pragma once

#include "cuda/core/op.h"

namespace wm::cuda {

constexpr int kJoinColumns = 32, kJoinSlices = 16;

// partial: kept x parts rows of `inner` columns, rows `stride` apart -> out [kept, inner] (=), times factor. 32 columns a
// block; of the 16 threads of a column thread s adds the parts s, s + 16, ...; the 16 sums are added in order. 2 KiB shared.
template <class Out>
__global__ void __launch_bounds__(kJoinColumns *kJoinSlices)
sum_parts_kernel(const float *partial, int64_t parts, int64_t stride, int64_t inner, float factor, Out *out) {
  __shared__ float shared[kJoinSlices][kJoinColumns];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kJoinColumns + threadIdx.x, kept = blockIdx.y;
  const float *from = partial + kept * parts * stride + column;
  float sum = 0.0f;
  if (column < inner) {
#pragma unroll 4
    for (int64_t p = threadIdx.y; p < parts; p += kJoinSlices) sum += from[p * stride];
  }
  shared[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && column < inner) {
    for (int s = 1; s < kJoinSlices; ++s) sum += shared[s][threadIdx.x];
    out[kept * inner + column] = from_float<Out>(sum * factor);
  }
}

}  // namespace wm::cuda
