// Products of bf16 by mma.sync with f32 sums, for operands that are looked up rather than stored as matrices: a tile of 32 kM
// rows and 128 columns a block of 256 threads, steps of 32 along k, four stages in flight by cp.async (kernels.md tier T2).
// Eight warps, two by four over the tile, each 16 kM x 32. One chain a sum over ascending k.
//
// Two layouts of an operand in shared memory, both free of bank conflicts for ldmatrix:
//   along k: [row][32], 16-byte chunks of a row exchanged by row / 2;  along rows: [k][128], chunks exchanged by k.
#pragma once

#include "cuda/core/mma.cuh"
#include "cuda/core/op.h"

namespace wm::cuda {

constexpr int kMmaThreads = 256, kMmaColumns = 128, kMmaDepth = 32, kMmaStages = 4;
constexpr int kChunk = 8;  // values of a 16-byte chunk

template <int kM>
constexpr int kMmaRows = 32 * kM;
template <int kM>
constexpr int kMmaStage = (kMmaRows<kM> + kMmaColumns) * kMmaDepth;  // values of both operands
template <int kM>
constexpr size_t kMmaSharedBytes = sizeof(bf16) * kMmaStages * kMmaStage<kM>;

// Chunk `chunk` of row `row` of a tile along k; of step `k` of a tile along rows.
__device__ __forceinline__ int chunk_along_k(int row, int chunk) { return row * kMmaDepth + (chunk ^ (row >> 1 & 3)) * kChunk; }
__device__ __forceinline__ int chunk_along_rows(int k, int chunk) { return k * 128 + (chunk ^ (k & 7)) * kChunk; }

struct MmaPlace {
  int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;

  template <int kM>
  __device__ __forceinline__ int row() const { return warp % 2 * 16 * kM; }
  __device__ __forceinline__ int column() const { return warp / 2 * 32; }
};

template <int kM, bool kAlongK>
__device__ __forceinline__ void mma_step(const bf16 *a, const bf16 *b, const MmaPlace &at, float (&sum)[kM][4][4]) {
  const int lane = at.lane;
#pragma unroll
  for (int kk = 0; kk < kMmaDepth / 16; ++kk) {
    uint32_t left[kM][4], right[2][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) {
      const int row = at.row<kM>() + m * 16;
      if constexpr (kAlongK) {
        ldmatrix_x4(left[m], a + chunk_along_k(row + lane % 16, kk * 2 + lane / 16));
      } else {
        ldmatrix_x4_trans(left[m],
                          a + chunk_along_rows(kk * 16 + lane / 16 * 8 + lane % 8, row / kChunk + lane / 8 % 2));
      }
    }
    // Registers 0 and 1 of `right` are the first eight columns', 2 and 3 the next eight's.
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const int column = at.column() + n * 16;
      if constexpr (kAlongK) {
        ldmatrix_x4(right[n], b + chunk_along_k(column + lane / 16 * 8 + lane % 8, kk * 2 + lane / 8 % 2));
      } else {
        ldmatrix_x4_trans(right[n],
                          b + chunk_along_rows(kk * 16 + lane / 8 % 2 * 8 + lane % 8, column / kChunk + lane / 16));
      }
    }
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const uint32_t of_b[2] = {right[n / 2][n % 2 * 2], right[n / 2][n % 2 * 2 + 1]};
        mma_m16n8k16(sum[m][n], left[m], of_b);
      }
    }
  }
}

// Loaders: copy(tile, step) starts the asynchronous copies of this thread's chunks of step `step` (zeros outside of the operand);
// both operands lie along k (kAlongK) or along rows, then kM is 4. `shared` has kMmaSharedBytes<kM>.
template <int kM, bool kAlongK, class LoadA, class LoadB>
__device__ __forceinline__ void mma_product(LoadA &a, LoadB &b, int steps, bf16 *shared, float (&sum)[kM][4][4]) {
  constexpr int kOfA = kMmaRows<kM> * kMmaDepth;
  const MmaPlace at;
#pragma unroll
  for (int s = 0; s < kMmaStages - 1; ++s) {
    if (s < steps) {
      a.copy(shared + s * kMmaStage<kM>, s);
      b.copy(shared + s * kMmaStage<kM> + kOfA, s);
    }
    cp_async_commit();
  }
  for (int step = 0; step < steps; ++step) {
    cp_async_wait<kMmaStages - 2>();
    // Behind this barrier the step's values are there for all, and nobody reads the stage that is filled next.
    __syncthreads();
    const int next = step + kMmaStages - 1;
    if (next < steps) {
      bf16 *stage = shared + next % kMmaStages * kMmaStage<kM>;
      a.copy(stage, next);
      b.copy(stage + kOfA, next);
    }
    cp_async_commit();
    const bf16 *stage = shared + step % kMmaStages * kMmaStage<kM>;
    mma_step<kM, kAlongK>(stage, stage + kOfA, at, sum);
  }
  cp_async_wait<0>();
}

// body(row, column, two neighbouring sums) for all sums of a thread, rows and columns within the tile.
template <int kM, class Body>
__device__ __forceinline__ void mma_each(const float (&sum)[kM][4][4], const Body &body) {
  const MmaPlace at;
  const int g = at.lane / 4, t = at.lane % 4;
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const int row = at.row<kM>() + m * 16 + g, column = at.column() + n * 8 + 2 * t;
      body(row, column, sum[m][n][0], sum[m][n][1]);
      body(row + 8, column, sum[m][n][2], sum[m][n][3]);
    }
  }
}

// A dense operand [rows, k] along k with a row pitch of k values; kRows rows of the tile.
template <int kRows>
class MmaRowLoad {
 public:
  // k and its pitch are multiples of 8, rows begin on 16-byte lines; `wrap`: values of a row that exist, read again and again.
  __device__ MmaRowLoad(const bf16 *matrix, int64_t row0, int64_t rows, int64_t k, int64_t wrap)
      : matrix_(matrix), k_(static_cast<int>(k)), wrap_(static_cast<int>(wrap)) {
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int64_t row = row0 + tile_row(i);
      row_[i] = tile_row(i) < kRows && row < rows ? matrix + row * wrap : nullptr;
    }
  }

  __device__ __forceinline__ void copy(bf16 *tile, int step) const {
    const int chunk = static_cast<int>(threadIdx.x) % 4;
    int k = step * kMmaDepth + chunk * kChunk;
    const bool inside = k < k_;
    if (k >= wrap_) k -= wrap_;
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      if (tile_row(i) >= kRows) break;
      const bool valid = inside && row_[i] != nullptr;
      cp_async_16(tile + chunk_along_k(tile_row(i), chunk), valid ? row_[i] + k : matrix_, valid);
    }
  }

 private:
  static constexpr int kCopies = (kRows + 63) / 64;
  static __device__ __forceinline__ int tile_row(int i) { return static_cast<int>(threadIdx.x) / 4 + i * 64; }

  const bf16 *matrix_;
  const bf16 *row_[kCopies];
  int k_, wrap_;
};

}  // namespace wm::cuda
