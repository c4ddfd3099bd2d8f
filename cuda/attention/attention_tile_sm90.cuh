// Products of the Hopper tier: Q, K and V tiles as TMA leaves them (rows of 128 bytes, a tile for each 64 columns of a head),
// wgmma of 64 rows a warpgroup. Two consumer warpgroups come first in a block, the producer's behind them, so that the rows
// of MmaFragment<1, .> are those of the block's 128-row tile.
#pragma once

#include "cuda/attention/attention_epilogue.cuh"
#include "cuda/attention/attention_tile_mma.cuh"
#include "cuda/core/sm90.cuh"

namespace wm::cuda::attention {

constexpr int kSm90Consumers = 2, kSm90ConsumerThreads = kSm90Consumers * 128, kSm90Threads = kSm90ConsumerThreads + 128;
constexpr int kSm90Rows = 64 * kSm90Consumers;
constexpr int kSm90Warps = kSm90ConsumerThreads / kWarp;  // that read a stage, and say so
constexpr int kTileRowBytes = 128;

#if WM_USE_WGMMA

// The accumulators of a fragment as the instruction takes them.
template <int kColumns>
__device__ __forceinline__ float (&accumulators(MmaFragment<1, kColumns> &x))[kColumns / 2] {
  return *reinterpret_cast<float(*)[kColumns / 2]>(&x.value[0][0][0]);
}

// Queues s = rows of Q times rows of K, transposed. `q`: the warpgroup's 64 rows; q_bytes, k_bytes: from one tile of 64
// columns to the next.
template <int kD, int kColumns>
__device__ __forceinline__ void queue_scores(const unsigned char *q, int q_bytes, const unsigned char *k, int k_bytes,
                                             MmaFragment<1, kColumns> &s) {
#pragma unroll
  for (int tile = 0; tile < kD / 64; ++tile) {
    const uint64_t a = wgmma_descriptor_k(q + tile * q_bytes), b = wgmma_descriptor_k(k + tile * k_bytes);
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      Wgmma<kColumns>::template shared<0, 0>(accumulators(s), a + step * kDescriptorStepK, b + step * kDescriptorStepK,
                                             tile + step > 0);
    }
  }
}

// Probabilities as A operands.
template <int kColumns>
struct Weights {
  uint32_t a[kColumns / 16][4];

  __device__ __forceinline__ void pack(const MmaFragment<1, kColumns> &s) {
#pragma unroll
    for (int k = 0; k < kColumns / 16; ++k) {
      const float(&low)[4] = s.value[0][2 * k], (&high)[4] = s.value[0][2 * k + 1];
      a[k][0] = pack_bf16(low[0], low[1]);
      a[k][1] = pack_bf16(low[2], low[3]);
      a[k][2] = pack_bf16(high[0], high[1]);
      a[k][3] = pack_bf16(high[2], high[3]);
    }
  }
  // Products in flight read these registers.
  __device__ __forceinline__ void keep() {
#pragma unroll
    for (int k = 0; k < kColumns / 16; ++k) wgmma_keep(a[k]);
  }
};

// Queues o += weights V (o = without `accumulate`); v_bytes: from one tile of 64 columns to the next.
template <int kD, int kColumns>
__device__ __forceinline__ void queue_mix(const Weights<kColumns> &weights, const unsigned char *v, int v_bytes, bool accumulate,
                                          MmaFragment<1, kD> &o) {
  const uint64_t b = wgmma_descriptor_mn(v, static_cast<uint32_t>(v_bytes));
#pragma unroll
  for (int k = 0; k < kColumns / 16; ++k) {
    Wgmma<kD>::template registers<1>(accumulators(o), weights.a[k], b + k * kDescriptorStepMn, accumulate || k > 0);
  }
}

// One arrival of each consumer warp frees a stage.
__device__ __forceinline__ void release(uint64_t *empty) {
  __syncwarp(kFullMask);
  if (threadIdx.x % kWarp == 0) barrier_arrive(empty);
}

// A head's rows [row, row + kRows) to kD / 64 tiles of 64 columns.
template <int kD, int kRows>
__device__ __forceinline__ void load_head_rows(unsigned char *tile, const CUtensorMap &map, uint64_t *full, const Place &at, int row) {
#pragma unroll
  for (int c = 0; c < kD; c += 64) tma_load_4d(tile + c / 64 * kRows * kTileRowBytes, map, full, c, row, at.head, at.b);
}

// TMA tiles start on 1024-byte lines.
__device__ __forceinline__ unsigned char *align_tiles(unsigned char *shared) {
  return shared + (1024 - shared_u32(shared) % 1024) % 1024;
}

// Sums to O and LSE, through a tile of [128][kD] bf16 of whose rows each warp has its own.
template <int kD>
__device__ __forceinline__ void finish_tile(const Params &p, const Place &at, int i0, float unit, const RowState<2> &state,
                                            bf16 *tile, MmaFragment<1, kD> &o) {
  finish_rows<bf16>(p, at, i0, 0, unit, state, o);
  if (p.o.wide) store_pairs(p.o, at, at.split * p.split_o, i0, at.nq, p.dv, o);
  else store_through(tile, p.o, at, i0, at.nq, p.dv, o);
}

#endif  // WM_USE_WGMMA

}  // namespace wm::cuda::attention
