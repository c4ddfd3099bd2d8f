// Rounding of whole operands to bf16 for the tensor-core tiers. Floor: one read and one write through memory.
#include "cuda/math/bf16_operand.h"

#include "cuda/math/rows.cuh"

namespace wm::cuda {

namespace {

constexpr int kThreads = 256, kPack = 8;

// x [n] -> y (=). 256 threads a block, eight values a thread.
template <class T>
__global__ void __launch_bounds__(kThreads) narrow_kernel(const T *x, bf16 *y, int64_t n, bool aligned) {
  const int64_t at = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kPack;
  if (at + kPack <= n) {
    float v[kPack];
    load_values(x + at, aligned, v);
    store_values(y + at, true, v);
  } else {
    for (int64_t i = at; i < n; ++i) y[i] = from_float<bf16>(to_float(x[i]));
  }
}

// x [outer, n] -> to [outer, 6, n] (=); kCount neighbours a thread, 256 threads a block.
template <int kCount>
__global__ void __launch_bounds__(kThreads)
split_kernel(const float *x, bf16 *to, int64_t packs, int64_t packs_of_row, SplitSide side, bool aligned) {
  const int64_t pack = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (pack >= packs) return;
  const int64_t row = pack / packs_of_row, n = packs_of_row * kCount;
  float high[kCount], middle[kCount], low[kCount];
  load_values(x + pack * kCount, aligned, high);
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const float value = high[i];
    high[i] = to_float(from_float<bf16>(value));
    middle[i] = to_float(from_float<bf16>(value - high[i]));
    low[i] = value - high[i] - middle[i];
  }
  bf16 *first = to + row * kSplitPieces * n + (pack - row * packs_of_row) * kCount;
  const bool left = side == SplitSide::left;
  store_values(first, true, high);
  store_values(first + (left ? n : 3 * n), true, high);
  store_values(first + (left ? 2 * n : 5 * n), true, high);
  store_values(first + (left ? 3 * n : n), true, middle);
  store_values(first + 4 * n, true, middle);
  store_values(first + (left ? 5 * n : 2 * n), true, low);
}

template <class T>
const void *narrow_copy(LaunchCall &call, const void *x, int64_t n) {
  auto *y = call.workspace<bf16>(n);
  WM_LAUNCH((narrow_kernel<T>), dim3(blocks_for(n, kThreads * kPack)), dim3(kThreads), 0, call.stream(),
            static_cast<const T *>(x), y, n, aligned16(x));
  return y;
}

}  // namespace

const void *bf16_operand(LaunchCall &call, const void *x, DType dtype, int64_t n) {
  if (dtype == DType::f32) return narrow_copy<float>(call, x, n);
  return aligned16(x) ? x : narrow_copy<bf16>(call, x, n);
}

void bf16_split(LaunchCall &call, const float *x, int64_t outer, int64_t n, SplitSide side, bf16 *to) {
  if (n % kPack == 0) {
    const int64_t packs = outer * n / kPack;
    WM_LAUNCH((split_kernel<kPack>), dim3(blocks_for(packs, kThreads)), dim3(kThreads), 0, call.stream(), x, to, packs,
              n / kPack, side, aligned16(x));
  } else {
    WM_LAUNCH((split_kernel<1>), dim3(blocks_for(outer * n, kThreads)), dim3(kThreads), 0, call.stream(), x, to,
              outer * n, n, side, false);
  }
}

}  // namespace wm::cuda
