// Tier 3 of the GEMM family, capability 9.0: a persistent kernel of one producer warp, which keeps a ring of four stages filled
// by TMA, and two consumer warpgroups of 64 rows each, which multiply with wgmma and send their outputs through shared
// memory and TMA stores. Floor: 2 M N K FLOP at 790 TFLOP/s (bf16, H200); expected limiter: the tensor cores, then the
// epilogue, which does not overlap with the products of its own block.
#pragma once

#include "cuda/core/sm90.cuh"
#include "cuda/math/gemm_epilogue.cuh"

namespace wm::cuda::gemm_sm90 {

constexpr int kM = 128, kN = 256, kK = 64;  // of a tile
constexpr int kStages = 4, kConsumers = 2, kThreads = 128 * (kConsumers + 1);
constexpr int kBytesA = kM * kK * 2, kBytesB = kN * kK * 2, kStageBytes = kBytesA + kBytesB;
constexpr int kPieceBytes = 64 * 128;  // 64 rows of 128 bytes: 64 bf16 or 32 f32 columns of the output
constexpr int kMnTileBytes = kK * 128;  // an MN-major tile: 64 of M or N by kK

// Row sums need a tile of ones beside the ring, in place of the second piece in flight.
template <bool kSums>
constexpr int kPieces = kSums ? 1 : 2;
template <bool kSums>
constexpr size_t kSharedBytes = 1024 + kStages * kStageBytes + kConsumers * kPieces<kSums> * kPieceBytes +
                                (kSums ? 2 * 1024 : 0) + 2 * kStages * sizeof(uint64_t);

// Tiles: N fastest, then M, image, part of K. The two maps' leading axes are coordinates 2 and 3.
struct Grid {
  int tiles_m, tiles_n, batch, tiles;
  int inner_leads;                          // size of the inner leading axis
  bool a_inner, a_outer, b_inner, b_outer;  // whether the operand has that axis
};

// Coordinates of the copy engine have 32 bits.
struct Tile {
  int row, column, image, part;
};

__device__ __forceinline__ Tile tile_at(const Grid &grid, int index) {
  Tile tile;
  tile.column = index % grid.tiles_n * kN;
  index /= grid.tiles_n;
  tile.row = index % grid.tiles_m * kM;
  index /= grid.tiles_m;
  tile.image = index % grid.batch;
  tile.part = index / grid.batch;
  return tile;
}

__device__ __forceinline__ int steps_of(const GemmParams &p, const Tile &tile) {
  return static_cast<int>((min(p.k - int64_t{tile.part} * p.part_k, p.part_k) + kK - 1) / kK);
}

#if WM_USE_WGMMA

struct Shared {
  unsigned char *ring, *pieces, *ones;
  uint64_t *full, *empty;
};

template <bool kSums>
__device__ __forceinline__ Shared carve(unsigned char *raw) {
  Shared s;
  s.ring = raw + (1024 - shared_u32(raw) % 1024) % 1024;
  s.pieces = s.ring + kStages * kStageBytes;
  s.ones = s.pieces + kConsumers * kPieces<kSums> * kPieceBytes;
  s.full = reinterpret_cast<uint64_t *>(s.ones + (kSums ? 2 * 1024 : 0));
  s.empty = s.full + kStages;
  return s;
}

// Position in the ring; the parity flips with each round.
struct Cursor {
  int stage = 0;
  uint32_t phase = 0;
  __device__ __forceinline__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

// One operand's tile of a stage: K-major one box [rows][64 of K], else a box [64 of K][64 rows] for each 64 rows.
template <bool kAlongK, int kRows>
__device__ __forceinline__ void load_tile(unsigned char *to, const CUtensorMap &map, uint64_t *full, int row, int k, int inner,
                                          int outer) {
  if constexpr (kAlongK) {
    tma_load_4d(to, map, full, k, row, inner, outer);
  } else {
#pragma unroll
    for (int i = 0; i < kRows / 64; ++i) tma_load_4d(to + i * kMnTileBytes, map, full, row + 64 * i, k, inner, outer);
  }
}

// By one thread, for all tiles of the block.
template <bool kAlongKa, bool kAlongKb>
__device__ __forceinline__ void produce(const GemmParams &p, const Grid &grid, const Shared &s, const CUtensorMap &map_a,
                                        const CUtensorMap &map_b) {
  Cursor at;
  for (int index = static_cast<int>(blockIdx.x); index < grid.tiles; index += static_cast<int>(gridDim.x)) {
    const Tile tile = tile_at(grid, index);
    const int steps = steps_of(p, tile);
    const int inner = tile.image % grid.inner_leads, outer = tile.image / grid.inner_leads;
    int k = static_cast<int>(int64_t{tile.part} * p.part_k);
    for (int step = 0; step < steps; ++step, k += kK) {
      // In the first round the stages are free: parity 1 counts as passed.
      barrier_wait(s.empty + at.stage, at.phase ^ 1);
      barrier_expect(s.full + at.stage, kStageBytes);
      unsigned char *stage = s.ring + at.stage * kStageBytes;
      load_tile<kAlongKa, kM>(stage, map_a, s.full + at.stage, tile.row, k, grid.a_inner ? inner : 0, grid.a_outer ? outer : 0);
      load_tile<kAlongKb, kN>(stage + kBytesA, map_b, s.full + at.stage, tile.column, k, grid.b_inner ? inner : 0,
                              grid.b_outer ? outer : 0);
      at.advance();
    }
  }
}

// sum [64, kN] (=) of a consumer's rows of one tile; with kSums also row_sum [64, 16], the sums of A over k in each column.
// A stage is given back by the eight consumer warps once the products that read it are done, which is known a step later.
template <bool kAlongKa, bool kAlongKb, bool kSums>
__device__ __forceinline__ void multiply(const Shared &s, Cursor &at, int steps, int consumer, float (&sum)[kN / 2],
                                         float (&row_sum)[8]) {
  constexpr uint64_t kStepA = kAlongKa ? kDescriptorStepK : kDescriptorStepMn;
  constexpr uint64_t kStepB = kAlongKb ? kDescriptorStepK : kDescriptorStepMn;
  const bool arrives = threadIdx.x % kWarp == 0;
  int last = 0;
  for (int step = 0; step < steps; ++step) {
    barrier_wait(s.full + at.stage, at.phase);
    const unsigned char *a = s.ring + at.stage * kStageBytes, *b = a + kBytesA;
    const uint64_t from_a = kAlongKa ? wgmma_descriptor_k(a + consumer * 64 * 128)
                                     : wgmma_descriptor_mn(a + consumer * kMnTileBytes, kMnTileBytes);
    const uint64_t from_b = kAlongKb ? wgmma_descriptor_k(b) : wgmma_descriptor_mn(b, kMnTileBytes);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kK / 16; ++k) {
      Wgmma<kN>::shared<!kAlongKa, !kAlongKb>(sum, from_a + k * kStepA, from_b + k * kStepB, step > 0 || k > 0);
      if constexpr (kSums) {
        Wgmma<16>::shared<!kAlongKa, 0>(row_sum, from_a + k * kStepA, wgmma_descriptor_k(s.ones), step > 0 || k > 0);
      }
    }
    wgmma_commit();
    wgmma_wait<1>();
    if (step > 0 && arrives) barrier_arrive(s.empty + last);
    last = at.stage;
    at.advance();
  }
  wgmma_wait<0>();
  wgmma_keep(sum);
  if constexpr (kSums) wgmma_keep(row_sum);
  if (arrives) barrier_arrive(s.empty + last);
}

__device__ __forceinline__ float2 load_pair(const void *data, bool is_bf16, int64_t i) {
  if (!is_bf16) return *reinterpret_cast<const float2 *>(static_cast<const float *>(data) + i);
  const uint32_t pair = *reinterpret_cast<const uint32_t *>(static_cast<const bf16 *>(data) + i);
  return make_float2(unpack_low(pair), unpack_high(pair));
}

// finish_run for two columns in registers: the output's values, while the slopes go to memory at once.
template <Activation kActivation>
__device__ __forceinline__ float2 finish_pair(const GemmEpilogue &e, int64_t i, int64_t column, bool inside, float x, float y) {
  if (!inside) return make_float2(0.0f, 0.0f);
  x *= e.scale;
  y *= e.scale;
  if (e.bias != nullptr) {
    const float2 bias = load_pair(e.bias, e.bias_bf16, column);
    x += bias.x;
    y += bias.y;
  }
  if (e.gate != nullptr) {
    const float2 gate = load_pair(e.gate, e.gate_bf16, i);
    x *= gate.x;
    y *= gate.y;
  }
  if (e.slope != nullptr) {
    const float2 slope = make_float2(activation_slope<kActivation>(x), activation_slope<kActivation>(y));
    if (e.out_bf16) {
      *reinterpret_cast<uint32_t *>(static_cast<bf16 *>(e.slope) + i) = pack_bf16(slope.x, slope.y);
    } else {
      *reinterpret_cast<float2 *>(static_cast<float *>(e.slope) + i) = slope;
    }
  }
  x = activate<kActivation>(x);
  y = activate<kActivation>(y);
  if (e.residual != nullptr) {
    const float2 residual = load_pair(e.residual, e.residual_bf16, i);
    x += residual.x;
    y += residual.y;
  }
  return make_float2(x, y);
}

// A consumer's 64 rows of a tile, piece by piece: registers, swizzled shared memory, TMA store. `turn` counts pieces: a piece
// of shared memory is written again once the store that read it is kPieces behind.
template <Activation kActivation, bool kOutBf16, bool kSums>
__device__ __forceinline__ void store_tile(const GemmParams &p, const Grid &grid, const Tile &tile, const Shared &s,
                                           const CUtensorMap &map_out, int consumer, uint32_t &turn, const float (&sum)[kN / 2]) {
  constexpr int kColumns = kOutBf16 ? 64 : 32;  // of a piece
  const int thread = static_cast<int>(threadIdx.x) % kWarpgroup, lane = thread % kWarp, warp = thread / kWarp;
  const int row_here = 16 * warp + lane / 4;
  const int row0 = tile.row + 64 * consumer;
  const bool whole = p.parts == 1;
  const int slice = whole ? tile.image : tile.part * grid.batch + tile.image;
#pragma unroll
  for (int piece = 0; piece < kN / kColumns; ++piece) {
    const int column0 = tile.column + piece * kColumns;
    if (column0 >= p.n) break;
    unsigned char *to = s.pieces + (consumer * kPieces<kSums> + turn % kPieces<kSums>) * kPieceBytes;
    if (thread == 0) tma_wait_read<kPieces<kSums> - 1>();
    named_sync(1 + consumer, kWarpgroup);
    uint32_t packed[kOutBf16 ? kColumns / 4 : 1];
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int at = (piece * kColumns / 8 + j) * 4 + 2 * h;
        const int row = row0 + row_here + 8 * h, column = column0 + 8 * j + lane % 4 * 2;
        float2 pair = make_float2(sum[at], sum[at + 1]);
        if (whole) {
          pair = finish_pair<kActivation>(p.epilogue, (int64_t{tile.image} * p.m + row) * p.n + column, column,
                                          row < p.m && column < p.n, pair.x, pair.y);
        }
        if constexpr (kOutBf16) {
          packed[2 * j + h] = pack_bf16(pair.x, pair.y);
        } else {
          const uint32_t offset = static_cast<uint32_t>((row_here + 8 * h) * 128 + (8 * j + lane % 4 * 2) * 4);
          *reinterpret_cast<float2 *>(to + swizzle_128(offset)) = pair;
        }
      }
    }
    if constexpr (kOutBf16) {
      const int row = 16 * warp + lane / 8 % 2 * 8 + lane % 8, chunk = lane / 16;
#pragma unroll
      for (int j = 0; j < kColumns / 16; ++j) {
        stmatrix_x4(to + swizzle_128(static_cast<uint32_t>(row * 128 + (2 * j + chunk) * 16)), packed[4 * j], packed[4 * j + 1],
                    packed[4 * j + 2], packed[4 * j + 3]);
      }
    }
    fence_async_shared();
    named_sync(1 + consumer, kWarpgroup);
    if (thread == 0) {
      tma_store_3d(map_out, to, column0, row0, slice);
      tma_commit();
    }
    ++turn;
  }
}

#endif  // WM_USE_WGMMA

// Outputs (=), or parts of sums where K is cut. 384 threads, kSharedBytes<kSums> of shared memory, one block a multiprocessor.
// kSums: also p.row_sums, as products with a tile of ones, by the blocks of the first column of tiles.
template <bool kAlongKa, bool kAlongKb, Activation kActivation, bool kOutBf16, bool kSums>
__global__ void __launch_bounds__(kThreads, 1)
    gemm_bf16_sm90_kernel(const GemmParams p, const Grid grid, const __grid_constant__ CUtensorMap map_a,
                          const __grid_constant__ CUtensorMap map_b, const __grid_constant__ CUtensorMap map_out) {
#if WM_USE_WGMMA
  WM_DYNAMIC_SHARED(unsigned char, raw);
  const Shared s = carve<kSums>(raw);
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    for (int i = 0; i < kStages; ++i) {
      barrier_init(s.full + i, 1);
      barrier_init(s.empty + i, kConsumers * kWarpgroup / kWarp);
    }
    barrier_init_fence();
    tma_prefetch(map_a);
    tma_prefetch(map_b);
    tma_prefetch(map_out);
  }
  if constexpr (kSums) {
    for (int i = thread; i < 2 * 1024 / 4; i += kThreads) reinterpret_cast<uint32_t *>(s.ones)[i] = 0x3f803f80u;
    fence_async_shared();
  }
  __syncthreads();
  if (thread < kWarpgroup) {
    registers_shrink<40>();
    if (thread == 0) produce<kAlongKa, kAlongKb>(p, grid, s, map_a, map_b);
  } else {
    registers_grow<232>();
    const int consumer = thread / kWarpgroup - 1;
    Cursor at;
    uint32_t turn = 0;
    for (int index = static_cast<int>(blockIdx.x); index < grid.tiles; index += static_cast<int>(gridDim.x)) {
      const Tile tile = tile_at(grid, index);
      const int steps = steps_of(p, tile);
      float sum[kN / 2], row_sum[8];
      if constexpr (kSums) {
        if (tile.column == 0 && tile.image == 0) {
          multiply<kAlongKa, kAlongKb, true>(s, at, steps, consumer, sum, row_sum);
          float *to = p.parts > 1 ? p.row_partial + int64_t{tile.part} * p.m : p.row_sums;
          const int row = tile.row + 64 * consumer + thread % kWarpgroup / kWarp * 16 + thread % kWarp / 4;
          if (thread % 4 == 0 && row < p.m) to[row] = row_sum[0];
          if (thread % 4 == 0 && row + 8 < p.m) to[row + 8] = row_sum[2];
        } else {
          multiply<kAlongKa, kAlongKb, false>(s, at, steps, consumer, sum, row_sum);
        }
      } else {
        multiply<kAlongKa, kAlongKb, false>(s, at, steps, consumer, sum, row_sum);
      }
      store_tile<kActivation, kOutBf16, kSums>(p, grid, tile, s, map_out, consumer, turn, sum);
    }
    if (thread % kWarpgroup == 0) tma_wait_read<0>();
  }
#endif
}

// Host side: maps and the persistent grid.
struct Maps {
  CUtensorMap a, b, out;
  Grid grid;
};
Maps make_maps(const GemmParams &p, bool out_bf16);

template <bool kAlongKa, bool kAlongKb, Activation kActivation, bool kOutBf16, bool kSums>
void launch_kernel(LaunchCall &call, const GemmParams &p) {
  const Maps maps = make_maps(p, kOutBf16);
  const int blocks = min(maps.grid.tiles, call.multiprocessors());
  WM_LAUNCH((gemm_bf16_sm90_kernel<kAlongKa, kAlongKb, kActivation, kOutBf16, kSums>), dim3(static_cast<unsigned>(blocks)),
            dim3(kThreads), kSharedBytes<kSums>, call.stream(), p, maps.grid, maps.a, maps.b, maps.out);
}

// The layouts beside both operands K-major; in gemm_bf16_transposed_sm90.cu.
void launch_transposed(LaunchCall &call, const GemmParams &p);

}  // namespace wm::cuda::gemm_sm90
