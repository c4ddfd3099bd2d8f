// Tiles of the mma tier: bf16 rows in shared memory by cp.async, fragments by ldmatrix, products by mma.sync m16n8k16. Four
// warps a block, each with rows of its own, so that a tile's softmax never leaves a warp.
#pragma once

#include "cuda/attention/attention_softmax.cuh"
#include "cuda/core/mma.cuh"

namespace wm::cuda::attention {

constexpr int kMmaWarps = 4, kMmaThreads = kMmaWarps * kWarp;

// Rows of kWidth bf16. ldmatrix reads eight rows of one 16-byte chunk at a time: where a row is a whole number of the 128
// bytes of all banks (or half of that), chunks are permuted by the row, else a chunk of padding shifts each row.
template <int kWidth>
struct MmaTile {
  static constexpr int kChunks = kWidth / 8;
  static constexpr bool kPermuted = (kWidth & (kWidth - 1)) == 0;
  static constexpr int kPitch = kPermuted ? kWidth : kWidth + 8;
  static_assert(kPermuted || kPitch / 8 % 2 == 1, "rows must start in different banks");

  // Elements before a chunk.
  __device__ static int offset(int row, int chunk) {
    if (!kPermuted) return row * kPitch + chunk * 8;
    return row * kPitch + (chunk ^ (kWidth == 32 ? row / 2 % 4 : row % 8)) * 8;
  }
};

// Starts copying rows [first, first + kRows) of a head into a tile; rows from `rows` and columns from `width` on become 0
// (their addresses are not read).
template <int kRows, int kWidth>
__device__ void load_tile(bf16 *tile, const bf16 *x, int64_t step, int first, int rows, int width) {
  constexpr int kChunks = MmaTile<kWidth>::kChunks;
  const int thread = static_cast<int>(threadIdx.x);
  if constexpr (kMmaThreads % kChunks == 0 && kRows * kChunks % kMmaThreads == 0) {
    // A thread keeps its chunk: one address, moved on by whole rows.
    constexpr int kStep = kMmaThreads / kChunks;
    const int row0 = thread / kChunks, chunk = thread % kChunks;
    const bf16 *from = x + (first + row0) * step + chunk * 8;
    const int left = chunk * 8 < width ? rows - first - row0 : 0;
#pragma unroll
    for (int r = 0; r < kRows; r += kStep) {
      cp_async_16(tile + MmaTile<kWidth>::offset(row0 + r, chunk), from, r < left);
      from += kStep * step;
    }
  } else {
#pragma unroll
    for (int e = thread; e < kRows * kChunks; e += kMmaThreads) {
      const int row = e / kChunks, chunk = e % kChunks;
      const bool valid = first + row < rows && chunk * 8 < width;
      cp_async_16(tile + MmaTile<kWidth>::offset(row, chunk), x + (first + row) * step + chunk * 8, valid);
    }
  }
}

// A of rows row0 .. + 16, columns 16 k .. + 16.
template <int kWidth>
__device__ void load_a(uint32_t (&a)[4], const bf16 *tile, int row0, int k) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  ldmatrix_x4(a, tile + MmaTile<kWidth>::offset(row0 + lane % 16, 2 * k + lane / 16));
}

// B of two neighbouring products whose columns are rows n0 .. + 16 of the tile, summed over columns 16 k .. + 16.
template <int kWidth>
__device__ void load_b(uint32_t (&b)[2][2], const bf16 *tile, int n0, int k) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  uint32_t r[4];
  ldmatrix_x4(r, tile + MmaTile<kWidth>::offset(n0 + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
  b[0][0] = r[0];
  b[0][1] = r[1];
  b[1][0] = r[2];
  b[1][1] = r[3];
}

// B of two neighbouring products whose columns are columns 16 n .. + 16 of the tile, summed over rows k0 .. + 16.
template <int kWidth>
__device__ void load_b_transposed(uint32_t (&b)[2][2], const bf16 *tile, int k0, int n) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  uint32_t r[4];
  ldmatrix_x4_trans(r, tile + MmaTile<kWidth>::offset(k0 + lane % 16, 2 * n + lane / 16));
  b[0][0] = r[0];
  b[0][1] = r[1];
  b[1][0] = r[2];
  b[1][1] = r[3];
}

// The A fragments of a warp's rows over the whole width, kept in registers.
template <int kTiles, int kWidth>
struct RowOperand {
  uint32_t a[kTiles][kWidth / 16][4];

  __device__ void load(const bf16 *tile, int row0) {
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
#pragma unroll
      for (int k = 0; k < kWidth / 16; ++k) load_a<kWidth>(a[m][k], tile, row0 + 16 * m, k);
    }
  }
};

// s = rows times the rows of a tile, transposed.
template <int kTiles, int kWidth, int kColumns>
__device__ void multiply_rows(const RowOperand<kTiles, kWidth> &x, const bf16 *tile, MmaFragment<kTiles, kColumns> &s) {
  s.clear();
#pragma unroll
  for (int k = 0; k < kWidth / 16; ++k) {
#pragma unroll
    for (int n = 0; n < kColumns / 16; ++n) {
      uint32_t b[2][2];
      load_b<kWidth>(b, tile, 16 * n, k);
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
        mma_m16n8k16(s.value[m][2 * n], x.a[m][k], b[0]);
        mma_m16n8k16(s.value[m][2 * n + 1], x.a[m][k], b[1]);
      }
    }
  }
}

// The same with rows row0 .. + 16 of a tile, read again at each use: for widths that leave no registers.
template <int kWidth, int kColumns>
__device__ void multiply_rows(const bf16 *rows, int row0, const bf16 *tile, MmaFragment<1, kColumns> &s) {
  s.clear();
#pragma unroll
  for (int k = 0; k < kWidth / 16; ++k) {
    uint32_t a[4];
    load_a<kWidth>(a, rows, row0, k);
#pragma unroll
    for (int n = 0; n < kColumns / 16; ++n) {
      uint32_t b[2][2];
      load_b<kWidth>(b, tile, 16 * n, k);
      mma_m16n8k16(s.value[0][2 * n], a, b[0]);
      mma_m16n8k16(s.value[0][2 * n + 1], a, b[1]);
    }
  }
}

// sum += bf16(weights) times the rows of a tile: the accumulators of one product are the A of the next.
template <int kTiles, int kColumns, int kWidth>
__device__ void multiply_weights(const MmaFragment<kTiles, kColumns> &weights, const bf16 *tile, MmaFragment<kTiles, kWidth> &sum) {
#pragma unroll
  for (int k = 0; k < kColumns / 16; ++k) {
    uint32_t a[kTiles][4];
#pragma unroll
    for (int m = 0; m < kTiles; ++m) {
      const float(&low)[4] = weights.value[m][2 * k], (&high)[4] = weights.value[m][2 * k + 1];
      a[m][0] = pack_bf16(low[0], low[1]);
      a[m][1] = pack_bf16(low[2], low[3]);
      a[m][2] = pack_bf16(high[0], high[1]);
      a[m][3] = pack_bf16(high[2], high[3]);
    }
#pragma unroll
    for (int n = 0; n < kWidth / 16; ++n) {
      uint32_t b[2][2];
      load_b_transposed<kWidth>(b, tile, 16 * k, n);
#pragma unroll
      for (int m = 0; m < kTiles; ++m) {
        mma_m16n8k16(sum.value[m][2 * n], a[m], b[0]);
        mma_m16n8k16(sum.value[m][2 * n + 1], a[m], b[1]);
      }
    }
  }
}

// Rows of a target from registers, two columns at a time (`width` is even).
template <int kTiles, int kWidth>
__device__ void store_pairs(const Target &t, const Place &at, int64_t offset, int i0, int n, int width,
                            MmaFragment<kTiles, kWidth> &x) {
#pragma unroll
  for (int r = 0; r < 2 * kTiles; ++r) {
    const int i = i0 + x.row(r);
    if (i >= n) continue;
    const int64_t row = offset + target_row(t, at, i);
#pragma unroll
    for (int c = 0; c < kWidth / 4; c += 2) {
      const int column = x.column(c);
      if (column >= width) continue;
      if (t.wide) *reinterpret_cast<float2 *>(static_cast<float *>(t.data) + row + column) = make_float2(x.at(r, c), x.at(r, c + 1));
      else *reinterpret_cast<uint32_t *>(static_cast<bf16 *>(t.data) + row + column) = pack_bf16(x.at(r, c), x.at(r, c + 1));
    }
  }
}

// The same through the warp's own rows of a tile: 16 bytes a store.
template <int kTiles, int kWidth>
__device__ void store_through(bf16 *tile, const Target &t, const Place &at, int i0, int n, int width,
                              MmaFragment<kTiles, kWidth> &x) {
  constexpr int kChunks = MmaTile<kWidth>::kChunks;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, row0 = static_cast<int>(threadIdx.x) / kWarp * 16 * kTiles;
#pragma unroll
  for (int r = 0; r < 2 * kTiles; ++r) {
#pragma unroll
    for (int c = 0; c < kWidth / 4; c += 2) {
      *reinterpret_cast<uint32_t *>(tile + MmaTile<kWidth>::offset(x.row(r), x.column(c) / 8) + x.column(c) % 8) =
          pack_bf16(x.at(r, c), x.at(r, c + 1));
    }
  }
  __syncwarp(kFullMask);
  for (int e = lane; e < 16 * kTiles * kChunks; e += kWarp) {
    const int row = row0 + e / kChunks, chunk = e % kChunks;
    if (i0 + row >= n || chunk * 8 >= width) continue;
    *reinterpret_cast<uint4 *>(static_cast<bf16 *>(t.data) + target_row(t, at, i0 + row) + chunk * 8) =
        *reinterpret_cast<const uint4 *>(tile + MmaTile<kWidth>::offset(row, chunk));
  }
}

}  // namespace wm::cuda::attention
