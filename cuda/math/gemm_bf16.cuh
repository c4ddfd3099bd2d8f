// Tier 2's main loop: bf16 tiles through a ring of cp.async stages in shared memory, ldmatrix, mma.sync m16n8k16. An operand's
// tile keeps the order it has in memory (K-major or MN-major); ldmatrix transposes the latter.
#pragma once

#include "cuda/math/gemm_epilogue.cuh"

namespace wm::cuda {

constexpr int kStepK = 32;    // of one stage
constexpr int kStages = 4;
constexpr int kChunk = 8;     // bf16 in 16 bytes

// kM x kN outputs a block, kWarpsM x kWarpsN warps.
template <int kTileM, int kTileN, int kAlongM, int kAlongN>
struct BlockShape {
  static constexpr int kM = kTileM, kN = kTileN, kWarpsM = kAlongM, kWarpsN = kAlongN;
  static constexpr int kThreads = kWarp * kWarpsM * kWarpsN;
  static constexpr int kFragmentsM = kM / kWarpsM / 16, kFragmentsN = kN / kWarpsN / 8;
  static constexpr int kStageElements = (kM + kN) * kStepK;
  // The ring, and after it the f32 outputs on their way to memory.
  static constexpr size_t kShared = kStages * kStageElements * 2 > kM * kN * 4 ? kStages * kStageElements * 2 : kM * kN * 4;
};

// Where 16-byte chunk (row, chunk) of a tile with kChunks chunks a row lies, in elements. The eight rows that one ldmatrix
// reads then fall into eight different bank groups: 64-byte rows need two bits of row / 2, longer ones three of row.
template <int kChunks>
__device__ __forceinline__ int chunk_offset(int row, int chunk) {
  const int moved = kChunks == 4 ? chunk ^ (row >> 1 & 3) : chunk ^ (row & 7);
  return (row * kChunks + moved) * kChunk;
}

// One operand's tile [kRows of M or N][kStepK], loaded by all threads of the block: kRows / 2 chunks a stage a 8 elements.
template <int kRows, int kThreads, bool kAlongK>
struct TileCopy {
  static constexpr int kChunks = kAlongK ? kStepK / kChunk : kRows / kChunk;  // in one line of the tile
  static constexpr int kCount = kRows * kStepK / kChunk / kThreads;           // a thread
  static_assert(kRows * kStepK / kChunk % kThreads == 0, "the tile's chunks go evenly over the threads");

  const bf16 *from;     // the thread's first chunk of the next stage
  int64_t line_step, stage_step;
  int line, chunk;
  int lines, length;  // of the operand beyond the tile's corner: lines down, elements along

  __device__ __forceinline__ TileCopy(const GemmOperand &x, int64_t start, int64_t row0, int64_t k0, int64_t all_rows, int depth) {
    const int t = static_cast<int>(threadIdx.x), rows = static_cast<int>(min(all_rows - row0, int64_t{kRows}));
    line = t / kChunks;
    chunk = t % kChunks;
    const int64_t line_stride = kAlongK ? x.row_stride : x.k_stride;
    line_step = kThreads / kChunks * line_stride;
    stage_step = kAlongK ? kStepK : kStepK * line_stride;
    from = static_cast<const bf16 *>(x.data) + start + row0 * x.row_stride + k0 * x.k_stride + line * line_stride + chunk * kChunk;
    lines = kAlongK ? rows : depth;
    length = kAlongK ? depth : rows;
  }

  // Zeros where the operand ends.
  __device__ __forceinline__ void load(bf16 *tile, const void *anywhere) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int l = line + i * (kThreads / kChunks);
      const bool inside = l < lines && chunk * kChunk < length;
      cp_async_16(tile + chunk_offset<kChunks>(l, chunk), inside ? from + i * line_step : anywhere, inside);
    }
    from += stage_step;
    (kAlongK ? length : lines) -= kStepK;
  }
};

// A's fragment of rows m0 .. m0 + 15 and k0 .. k0 + 15: matrices (rows 0-7, 8-15) x (k 0-7, then 8-15).
template <int kRows, bool kAlongK>
__device__ __forceinline__ void read_a(uint32_t (&a)[4], const bf16 *tile, int m0, int k0, int lane) {
  const int matrix = lane / 8, r = lane % 8;
  if constexpr (kAlongK) {
    ldmatrix_x4(a, tile + chunk_offset<kStepK / kChunk>(m0 + matrix % 2 * 8 + r, k0 / 8 + matrix / 2));
  } else {
    ldmatrix_x4_trans(a, tile + chunk_offset<kRows / kChunk>(k0 + matrix / 2 * 8 + r, m0 / 8 + matrix % 2));
  }
}

// B's fragments of columns n0 .. n0 + 15 (two of eight) and k0 .. k0 + 15: matrices (k 0-7, 8-15) x (columns 0-7, then 8-15).
template <int kRows, bool kAlongK>
__device__ __forceinline__ void read_b(uint32_t (&b)[4], const bf16 *tile, int n0, int k0, int lane) {
  const int matrix = lane / 8, r = lane % 8;
  if constexpr (kAlongK) {
    ldmatrix_x4(b, tile + chunk_offset<kStepK / kChunk>(n0 + matrix / 2 * 8 + r, k0 / 8 + matrix % 2));
  } else {
    ldmatrix_x4_trans(b, tile + chunk_offset<kRows / kChunk>(k0 + matrix % 2 * 8 + r, n0 / 8 + matrix / 2));
  }
}

// Element offset of columns column .. column + 3 (a multiple of four) of the f32 outputs in shared memory: the fragments of
// four neighbouring rows go to different bank groups.
template <int kN>
__device__ __forceinline__ int staged_offset(int row, int column) {
  return row * kN + ((column / 4) ^ ((row & 3) << 1)) * 4 + column % 4;
}

// Outputs (=) of one tile, batch and part of K. Shape::kThreads threads, Shape::kShared bytes of shared memory; a warp has
// kM / kWarpsM rows and kN / kWarpsN columns. kSums: also p.row_sums, as products with a fragment of ones.
template <class Shape, bool kAlongKa, bool kAlongKb, Activation kActivation, bool kSums>
__global__ void __launch_bounds__(Shape::kThreads, kSums ? 1 : 2)
    gemm_bf16_kernel(GemmParams p, int64_t tiles_m, int64_t tiles_n, int64_t batch, bool aligned) {
  constexpr int kM = Shape::kM, kN = Shape::kN, kFm = Shape::kFragmentsM, kFn = Shape::kFragmentsN;
  WM_DYNAMIC_SHARED(bf16, ring);
  int64_t index = blockIdx.x;
  const int64_t column0 = index % tiles_n * kN;
  index /= tiles_n;
  const int64_t row0 = index % tiles_m * kM;
  index /= tiles_m;
  const int64_t image = index % batch, part = index / batch;
  const int64_t k_begin = part * p.part_k;
  const int depth = static_cast<int>(min(p.k - k_begin, p.part_k));
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  const int warp_m = warp / Shape::kWarpsN * (16 * kFm), warp_n = warp % Shape::kWarpsN * (8 * kFn);

  TileCopy<kM, Shape::kThreads, kAlongKa> copy_a(p.a, batch_start(p, p.a, image), row0, k_begin, p.m, depth);
  TileCopy<kN, Shape::kThreads, kAlongKb> copy_b(p.b, batch_start(p, p.b, image), column0, k_begin, p.n, depth);
  const int steps = (depth + kStepK - 1) / kStepK;
  const auto stage_a = [&](int step) { return ring + step % kStages * Shape::kStageElements; };
  const auto stage_b = [&](int step) { return ring + step % kStages * Shape::kStageElements + kM * kStepK; };

  float sum[kFm][kFn][4] = {};
  float row_sum[kSums ? kFm : 1][4] = {};
  const bool sums_rows = kSums && column0 == 0 && image == 0 && warp_n == 0;
  for (int s = 0; s < kStages - 1; ++s) {
    if (s < steps) {
      copy_a.load(stage_a(s), p.a.data);
      copy_b.load(stage_b(s), p.b.data);
    }
    cp_async_commit();
  }
  for (int step = 0; step < steps; ++step) {
    cp_async_wait<kStages - 2>();
    // Behind this barrier all copies of the stage are visible, and the stage before it is read no more.
    __syncthreads();
    if (step + kStages - 1 < steps) {
      copy_a.load(stage_a(step + kStages - 1), p.a.data);
      copy_b.load(stage_b(step + kStages - 1), p.b.data);
    }
    cp_async_commit();
    const bf16 *tile_a = stage_a(step), *tile_b = stage_b(step);
#pragma unroll
    for (int k = 0; k < kStepK; k += 16) {
      uint32_t a[kFm][4], b[kFn / 2][4];
#pragma unroll
      for (int i = 0; i < kFm; ++i) read_a<kM, kAlongKa>(a[i], tile_a, warp_m + 16 * i, k, lane);
#pragma unroll
      for (int j = 0; j < kFn / 2; ++j) read_b<kN, kAlongKb>(b[j], tile_b, warp_n + 16 * j, k, lane);
#pragma unroll
      for (int i = 0; i < kFm; ++i) {
#pragma unroll
        for (int j = 0; j < kFn; ++j) {
          const uint32_t half[2] = {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]};
          mma_m16n8k16(sum[i][j], a[i], half);
        }
        if constexpr (kSums) {
          const uint32_t ones[2] = {0x3f803f80u, 0x3f803f80u};
          if (sums_rows) mma_m16n8k16(row_sum[i], a[i], ones);
        }
      }
    }
  }
  cp_async_wait<0>();
  __syncthreads();

  // Fragments to rows of f32 in shared memory, then runs of eight columns to the epilogue.
  float *staged = reinterpret_cast<float *>(ring);
  const int g = lane / 4, t = lane % 4;
#pragma unroll
  for (int i = 0; i < kFm; ++i) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = warp_m + 16 * i + 8 * h + g;
#pragma unroll
      for (int j = 0; j < kFn; ++j) {
        const Vector<float, 2> pair = {sum[i][j][2 * h], sum[i][j][2 * h + 1]};
        store_vector(staged + staged_offset<kN>(row, warp_n + 8 * j + 2 * t), pair);
      }
      if constexpr (kSums) {
        if (sums_rows && t == 0 && row0 + row < p.m) {
          (p.parts > 1 ? p.row_partial + part * p.m : p.row_sums)[row0 + row] = row_sum[i][2 * h];
        }
      }
    }
  }
  __syncthreads();
  for (int i = thread; i < kM * kN / 8; i += Shape::kThreads) {
    const int row = i / (kN / 8), column = i % (kN / 8) * 8;
    const int64_t left = p.n - column0 - column;
    if (row0 + row >= p.m || left <= 0) continue;
    const int count = static_cast<int>(min(left, int64_t{8}));
    // The swizzle moves pairs of fours: a run of eight stays together.
    float run[8];
    load_run<8>(staged, false, staged_offset<kN>(row, column), 8, true, run);
    if (p.parts > 1) {
      store_run<8>(p.partial + ((part * batch + image) * p.m + row0 + row) * p.n, false, column0 + column, count,
                   aligned && count == 8, run);
    } else {
      finish_run<kActivation, 8>(p.epilogue, (image * p.m + row0 + row) * p.n, column0 + column, count, aligned, run);
    }
  }
}

}  // namespace wm::cuda
