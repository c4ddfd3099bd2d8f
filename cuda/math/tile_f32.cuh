// Products of f32 in register tiles with operands that are looked up rather than stored as matrices: sum[r][c] += A[r][k]
// B[c][k] over a range of k, for a tile of 16 kSide rows and columns a block of 256 threads. One chain a sum over ascending
// k, so a result does not depend on the tile. Expected limiter: the FMA units (kernels.md, tier T1).
#pragma once

#include "cuda/core/op.h"

namespace wm::cuda {

constexpr int kTileThreads = 256;
constexpr int kTileLoads = 4;  // neighbouring values of an operand that a thread fetches at a time

template <int side>
struct TileShape {
  static constexpr int kSide = side, kTile = 16 * side, kDepth = kTileThreads * kTileLoads / kTile;
  // Rows are four banks apart from each other.
  static constexpr int kWidth = kTile + 4;
};

template <class Shape>
struct TileShared {
  alignas(16) float a[2][Shape::kDepth][Shape::kWidth];
  alignas(16) float b[2][Shape::kDepth][Shape::kWidth];
};

// What a thread fetches of an operand's tile: kTileLoads values from (row, k) on, along k or along rows.
template <class Shape, bool kAlongK>
struct TilePlace {
  static constexpr int kRuns = (kAlongK ? Shape::kDepth : Shape::kTile) / kTileLoads;

  static __device__ __forceinline__ int row() {
    const int t = static_cast<int>(threadIdx.x);
    return kAlongK ? t / kRuns : t % kRuns * kTileLoads;
  }
  static __device__ __forceinline__ int k() {
    const int t = static_cast<int>(threadIdx.x);
    return kAlongK ? t % kRuns * kTileLoads : t / kRuns;
  }
  static __device__ __forceinline__ void store(float (*tile)[Shape::kWidth], const float (&v)[kTileLoads]) {
    if constexpr (kAlongK) {
#pragma unroll
      for (int i = 0; i < kTileLoads; ++i) tile[k() + i][row()] = v[i];
    } else {
      Vector<float, kTileLoads> run;
#pragma unroll
      for (int i = 0; i < kTileLoads; ++i) run.value[i] = v[i];
      store_vector(&tile[k()][row()], run);
    }
  }
};

// Rows (or columns) of sum index i of thread coordinate t in 0..15: runs of four, 64 apart.
__device__ __forceinline__ int tile_index(int t, int i) { return i / 4 * 64 + t * 4 + i % 4; }

template <class Shape>
__device__ __forceinline__ void tile_read(const float *row, int t, float (&x)[Shape::kSide]) {
#pragma unroll
  for (int q = 0; q < Shape::kSide; q += 4) {
    const auto v = load_vector<float, 4>(row + tile_index(t, q));
#pragma unroll
    for (int i = 0; i < 4; ++i) x[q + i] = v.value[i];
  }
}

// Loaders: static constexpr bool kAlongK; load(k, end, v) fetches this thread's values of the step that begins at k, zeros
// where they lie outside of the operand or at k >= end. Threads are (t % 16, t / 16) over columns and rows.
template <class Shape, class LoadA, class LoadB>
__device__ __forceinline__ void tile_product(LoadA &a, LoadB &b, int64_t begin, int64_t end, TileShared<Shape> &shared,
                                             float (&sum)[Shape::kSide][Shape::kSide]) {
  const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
  float of_a[kTileLoads], of_b[kTileLoads];
  a.load(begin, end, of_a);
  b.load(begin, end, of_b);
  int stage = 0;
  for (int64_t k = begin; k < end; k += Shape::kDepth, stage ^= 1) {
    TilePlace<Shape, LoadA::kAlongK>::store(shared.a[stage], of_a);
    TilePlace<Shape, LoadB::kAlongK>::store(shared.b[stage], of_b);
    // The other stage is read no more: every thread passed this barrier behind its last use of it.
    __syncthreads();
    if (k + Shape::kDepth < end) {
      a.load(k + Shape::kDepth, end, of_a);
      b.load(k + Shape::kDepth, end, of_b);
    }
// Unrolled further, the reads run ahead of the registers there are.
#pragma unroll 2
    for (int i = 0; i < Shape::kDepth; ++i) {
      float left[Shape::kSide], right[Shape::kSide];
      tile_read<Shape>(shared.a[stage][i], ty, left);
      tile_read<Shape>(shared.b[stage][i], tx, right);
#pragma unroll
      for (int r = 0; r < Shape::kSide; ++r) {
#pragma unroll
        for (int c = 0; c < Shape::kSide; ++c) sum[r][c] = fmaf(left[r], right[c], sum[r][c]);
      }
    }
  }
}

}  // namespace wm::cuda
