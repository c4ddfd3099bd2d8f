// Score fragments and the running softmax over them, for every tier: a fragment is the part of a score tile that one thread
// holds, and `kLanes` neighbouring lanes share its rows. Exponents are of base 2.
#pragma once

#include "cuda/attention/attention_terms.cuh"
#include "cuda/core/mma.cuh"

namespace wm::cuda::attention {

// 4 x 4 scores of a 64 x 64 tile over 16 x 16 threads: rows 4 ty .., columns 4 tx + 64 g ...
template <int kGroups>
struct SimtFragment {
  static constexpr int kRows = 4, kColumns = 4 * kGroups, kLanes = 16;
  float value[4][4 * kGroups];

  __device__ float &at(int r, int c) { return value[r][c]; }
  __device__ static int row(int r) { return static_cast<int>(threadIdx.x) / 16 * 4 + r; }
  __device__ static int column(int c) { return c / 4 * 64 + static_cast<int>(threadIdx.x) % 16 * 4 + c % 4; }
  __device__ static bool leads_row() { return threadIdx.x % 16 == 0; }
  __device__ void clear() {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) value[r][c] = 0.0f;
    }
  }
};

// Accumulators of m16n8 products, kTiles of them below one another and kWidth / 8 side by side; warp w of the block has the
// rows 16 kTiles w ... As the result of a wgmma of 64 rows by a warpgroup too (kTiles 1).
//   value[m][n][0, 1]: row lane / 4, columns 8 n + 2 (lane % 4) + {0, 1};  value[m][n][2, 3]: eight rows below
template <int kTiles, int kWidth>
struct MmaFragment {
  static constexpr int kRows = 2 * kTiles, kColumns = kWidth / 4, kLanes = 4;
  float value[kTiles][kWidth / 8][4];

  __device__ float &at(int r, int c) { return value[r / 2][c / 2][r % 2 * 2 + c % 2]; }
  __device__ static int row(int r) {
    return static_cast<int>(threadIdx.x) / 32 * 16 * kTiles + static_cast<int>(threadIdx.x) % 32 / 4 + r * 8;
  }
  __device__ static int column(int c) { return c / 2 * 8 + static_cast<int>(threadIdx.x) % 4 * 2 + c % 2; }
  __device__ static bool leads_row() { return threadIdx.x % 4 == 0; }
  __device__ void clear() {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) at(r, c) = 0.0f;
    }
  }
};

template <int kLanes>
__device__ float lanes_max(float x) {
#pragma unroll
  for (int bit = kLanes / 2; bit > 0; bit /= 2) x = fmaxf(x, __shfl_xor_sync(kFullMask, x, bit));
  return x;
}

template <int kLanes>
__device__ float lanes_sum(float x) {
#pragma unroll
  for (int bit = kLanes / 2; bit > 0; bit /= 2) x += __shfl_xor_sync(kFullMask, x, bit);
  return x;
}

// Running maximum (before the unit) and sum of each row; the sum is the lane's own share until the end.
template <int kRows>
struct RowState {
  float peak[kRows], mass[kRows];

  __device__ void clear() {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      peak[r] = negative_infinity();
      mass[r] = 0.0f;
    }
  }
};

// Scores become unnormalised probabilities 2^(unit s - unit peak); `factor` is what earlier sums of a row are worth now.
template <class Fragment>
__device__ void softmax_step(float unit, Fragment &s, RowState<Fragment::kRows> &state, float (&factor)[Fragment::kRows]) {
#pragma unroll
  for (int r = 0; r < Fragment::kRows; ++r) {
    float peak = state.peak[r];
#pragma unroll
    for (int c = 0; c < Fragment::kColumns; ++c) peak = fmaxf(peak, s.at(r, c));
    peak = lanes_max<Fragment::kLanes>(peak);
    // A row blocked everywhere so far has peak -inf; subtracting it would give NaN.
    const float shift = peak == negative_infinity() ? 0.0f : peak * unit;
    factor[r] = exp2_approx(state.peak[r] * unit - shift);
    float sum = 0.0f;
#pragma unroll
    for (int c = 0; c < Fragment::kColumns; ++c) {
      const float x = exp2_approx(fmaf(s.at(r, c), unit, -shift));
      s.at(r, c) = x;
      sum += x;
    }
    state.mass[r] = state.mass[r] * factor[r] + sum;
    state.peak[r] = peak;
  }
}

// Most steps raise no maximum: multiplying by 1 is left out then, which changes no bit.
template <class Fragment>
__device__ void scale_rows(Fragment &o, const float (&factor)[Fragment::kRows]) {
  bool changed = false;
#pragma unroll
  for (int r = 0; r < Fragment::kRows; ++r) changed = changed || factor[r] != 1.0f;
  if (!__any_sync(kFullMask, changed)) return;
#pragma unroll
  for (int r = 0; r < Fragment::kRows; ++r) {
#pragma unroll
    for (int c = 0; c < Fragment::kColumns; ++c) o.at(r, c) *= factor[r];
  }
}

}  // namespace wm::cuda::attention
