// Attention forward on Hopper, short form (at most 208 keys, heads up to 64): all keys and values of a head in shared memory,
// all scores of 64 queries in registers, one exact softmax and no rescaling. A persistent grid over heads; the producer
// thread fetches the next head while two consumer warpgroups work on this one.
// Floor on an H200: bytes, 2 (2 Nq + 2 Nk) d a head over 4.3 TB/s (424 TFLOP/s at 197 tokens of d 64). Expected limiter: the
// exponentials and the fragments' bookkeeping around short products.
#pragma once

#include "cuda/attention/attention_tile_sm90.cuh"

namespace wm::cuda::attention {

constexpr int kShortRows = 256;  // queries of an item

template <int kKeys>
struct ShortShape {
  static constexpr int kD = 64, kStages = 2;
  static constexpr int kQBytes = kShortRows * kTileRowBytes, kKeyBytes = kKeys * kTileRowBytes;
  static constexpr int kStageBytes = kQBytes + 2 * kKeyBytes;
  static constexpr int kOutBytes = kSm90Rows * kD * 2;
  static constexpr int kSharedBytes = 1024 + kStages * kStageBytes + kOutBytes + 3 * kStages * 8;
  static_assert(kKeyBytes % 1024 == 0, "TMA tiles start on 1024-byte lines");
};

#if WM_USE_WGMMA

template <int kKeys>
struct ShortShared {
  using Shape = ShortShape<kKeys>;
  unsigned char *stages;  // Q, K, V each
  bf16 *out;
  uint64_t *k_full, *v_full, *empty;  // k_full: Q and K

  __device__ explicit ShortShared(unsigned char *raw) {
    stages = align_tiles(raw);
    out = reinterpret_cast<bf16 *>(stages + Shape::kStages * Shape::kStageBytes);
    k_full = reinterpret_cast<uint64_t *>(stages + Shape::kStages * Shape::kStageBytes + Shape::kOutBytes);
    v_full = k_full + Shape::kStages;
    empty = v_full + Shape::kStages;
  }

  __device__ void init() const {
    for (int s = 0; s < Shape::kStages; ++s) {
      barrier_init(k_full + s, 1);
      barrier_init(v_full + s, 1);
      barrier_init(empty + s, kSm90Warps);
    }
    barrier_init_fence();
  }
};

template <int kKeys>
__device__ __forceinline__ void produce_short(const ShortShared<kKeys> &shared, const Params &p, const CUtensorMap &q_map,
                                              const CUtensorMap &k_map, const CUtensorMap &v_map, int64_t items) {
  using Shape = ShortShape<kKeys>;
  uint32_t count = 0;
  for (int64_t item = blockIdx.x; item < items; item += gridDim.x, ++count) {
    const Place at = locate_tile(p, p.nq, kShortRows, 1, item);
    const uint32_t stage = count % Shape::kStages, parity = count / Shape::kStages % 2;
    unsigned char *q = shared.stages + stage * Shape::kStageBytes, *k = q + Shape::kQBytes, *v = k + Shape::kKeyBytes;
    barrier_wait(shared.empty + stage, parity ^ 1);
    barrier_expect(shared.k_full + stage, Shape::kQBytes + Shape::kKeyBytes);
    load_head_rows<64, kShortRows>(q, q_map, shared.k_full + stage, at, at.begin);
    load_head_rows<64, kKeys>(k, k_map, shared.k_full + stage, at, 0);
    barrier_expect(shared.v_full + stage, Shape::kKeyBytes);
    load_head_rows<64, kKeys>(v, v_map, shared.v_full + stage, at, 0);
  }
}

template <int kKeys, bool kTerms>
__device__ __forceinline__ void consume_short(const ShortShared<kKeys> &shared, const Params &p, int64_t items) {
  using Shape = ShortShape<kKeys>;
  const float unit = exponent_unit<kTerms>(p);
  const int group_row = static_cast<int>(threadIdx.x) / 128 * 64;
  uint32_t count = 0;
  for (int64_t item = blockIdx.x; item < items; item += gridDim.x, ++count) {
    const Place at = locate_tile(p, p.nq, kShortRows, 1, item);
    const uint32_t stage = count % Shape::kStages, parity = count / Shape::kStages % 2;
    const unsigned char *q = shared.stages + stage * Shape::kStageBytes, *k = q + Shape::kQBytes, *v = k + Shape::kKeyBytes;
    // A warpgroup without rows waits too: it must not free a stage twice in one round.
    barrier_wait(shared.k_full + stage, parity);
#pragma unroll 1
    for (int row = 0; row < kShortRows && at.begin + row + group_row < at.nq; row += kSm90Rows) {
      MmaFragment<1, kKeys> s;
      MmaFragment<1, 64> o;
      Weights<kKeys> weights;
      RowState<2> state;
      float factor[2];
      const int i0 = at.begin + row;
      wgmma_fence();
      queue_scores<64>(q + (row + group_row) * kTileRowBytes, 0, k, 0, s);
      wgmma_commit();
      wgmma_wait<0>();
      wgmma_keep(accumulators(s));
      // Columns behind the last key are blocked here, so that a tile is never plain.
      apply_terms<kTerms>(p, at, i0, 0, at.keys, s);
      state.clear();
      softmax_step(unit, s, state, factor);
      weights.pack(s);
      barrier_wait(shared.v_full + stage, parity);
      wgmma_fence();
      queue_mix<64>(weights, v, Shape::kKeyBytes, false, o);
      wgmma_commit();
      wgmma_wait<0>();
      wgmma_keep(accumulators(o));
      weights.keep();
      finish_tile(p, at, i0, unit, state, shared.out, o);
    }
    barrier_wait(shared.v_full + stage, parity);
    release(shared.empty + stage);
  }
}

#endif  // WM_USE_WGMMA

// O [B, Nq, A, dv] (=), LSE (=), for 1 to kKeys keys. Items are 256 queries of one head; 384 threads, of which 256 own 64 rows
// a warpgroup at a time; dynamic shared memory: two stages of Q, K and V, and O (185 KB for 208 keys).
template <int kKeys, bool kTerms>
__global__ void __launch_bounds__(kSm90Threads, 1)
    attention_fwd_short_sm90_kernel(Params p, const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap k_map,
                                    const __grid_constant__ CUtensorMap v_map, int64_t items) {
#if WM_USE_WGMMA
  WM_DYNAMIC_SHARED(unsigned char, raw);
  const ShortShared<kKeys> shared(raw);
  if (threadIdx.x == 0) shared.init();
  __syncthreads();
  if (threadIdx.x >= kSm90ConsumerThreads) {
    registers_shrink<24>();
    if (threadIdx.x == kSm90ConsumerThreads) produce_short<kKeys>(shared, p, q_map, k_map, v_map, items);
  } else {
    registers_grow<240>();
    consume_short<kKeys, kTerms>(shared, p, items);
  }
#endif
}

}  // namespace wm::cuda::attention
