// Attention forward on Hopper, long form: a persistent grid; one producer thread keeps Q and a ring of two K and V stages filled
// by TMA straight from the packed rows, two consumer warpgroups of 64 queries multiply with wgmma. Within a warpgroup the
// scores of the next keys and the products with V of the last run while its softmax does; between the two warpgroups
// nothing is ordered, so that one's softmax falls into the other's products.
// Floor on an H200: 4 Nq Nk d FLOP over 790 TFLOP/s; the exponentials alone (16 a clock and multiprocessor) take as long as
// 70% of that at d 64. Expected limiter: the exponentials at d 64, wgmma at d 128.
#pragma once

#include "cuda/attention/attention_tile_sm90.cuh"

namespace wm::cuda::attention {

template <int kD, bool kTerms>
struct LongShape {
  // What a row's terms need leaves no registers for scores of 128 keys.
  static constexpr int kKeys = kTerms ? 64 : 128, kStages = 2;
  static constexpr int kRowsTileBytes = kSm90Rows * kTileRowBytes, kKeysTileBytes = kKeys * kTileRowBytes;  // 64 columns
  static constexpr int kRowsBytes = kD / 64 * kRowsTileBytes, kKeysBytes = kD / 64 * kKeysTileBytes;
  static constexpr int kOutBytes = kSm90Rows * kD * 2;
  static constexpr int kBarriers = 2 + 4 * kStages;
  static constexpr int kSharedBytes = 1024 + kRowsBytes + 2 * kStages * kKeysBytes + kOutBytes + kBarriers * 8;
};

#if WM_USE_WGMMA

template <int kD, bool kTerms>
struct LongShared {
  using Shape = LongShape<kD, kTerms>;
  unsigned char *q, *k, *v;  // k and v: kStages of them
  bf16 *out;
  uint64_t *q_full, *q_empty, *k_full, *k_empty, *v_full, *v_empty;

  __device__ explicit LongShared(unsigned char *raw) {
    q = align_tiles(raw);
    k = q + Shape::kRowsBytes;
    v = k + Shape::kStages * Shape::kKeysBytes;
    out = reinterpret_cast<bf16 *>(v + Shape::kStages * Shape::kKeysBytes);
    q_full = reinterpret_cast<uint64_t *>(v + Shape::kStages * Shape::kKeysBytes + Shape::kOutBytes);
    q_empty = q_full + 1;
    k_full = q_empty + 1;
    k_empty = k_full + Shape::kStages;
    v_full = k_empty + Shape::kStages;
    v_empty = v_full + Shape::kStages;
  }

  __device__ void init() const {
    barrier_init(q_full, 1);
    barrier_init(q_empty, kSm90Warps);
    for (int s = 0; s < Shape::kStages; ++s) {
      barrier_init(k_full + s, 1);
      barrier_init(v_full + s, 1);
      barrier_init(k_empty + s, kSm90Warps);
      barrier_init(v_empty + s, kSm90Warps);
    }
    barrier_init_fence();
  }
};

// The keys of a tile of queries. Causal tiles of a head come longest first.
struct Work {
  Place at;
  int begin, end;

  __device__ Work(const Params &p, int64_t number) : at(locate_tile(p, p.nq, kSm90Rows, p.splits, number)) {
    if (p.causal) at.begin = (p.nq - 1) / kSm90Rows * kSm90Rows - at.begin;
    begin = at.split * p.split_keys;
    end = min(tile_key_limit(p, at, kSm90Rows), begin + p.split_keys);
  }
  __device__ int tiles(int keys) const { return (end - begin + keys - 1) / keys; }
};

template <int kD, bool kTerms>
__device__ __forceinline__ void produce_long(const LongShared<kD, kTerms> &shared, const Params &p, const CUtensorMap &q_map,
                                             const CUtensorMap &k_map, const CUtensorMap &v_map, int64_t items) {
  using Shape = LongShape<kD, kTerms>;
  uint32_t count = 0, round = 0;  // of stages, of items
  for (int64_t item = blockIdx.x; item < items; item += gridDim.x, ++round) {
    const Work work(p, item);
    const int tiles = work.tiles(Shape::kKeys);
    if (tiles <= 0) continue;
    barrier_wait(shared.q_empty, round % 2 ^ 1);
    barrier_expect(shared.q_full, Shape::kRowsBytes);
    load_head_rows<kD, kSm90Rows>(shared.q, q_map, shared.q_full, work.at, work.at.begin);
    for (int t = 0; t < tiles; ++t, ++count) {
      const uint32_t stage = count % Shape::kStages, parity = count / Shape::kStages % 2;
      const int row = work.begin + t * Shape::kKeys;
      barrier_wait(shared.k_empty + stage, parity ^ 1);
      barrier_expect(shared.k_full + stage, Shape::kKeysBytes);
      load_head_rows<kD, Shape::kKeys>(shared.k + stage * Shape::kKeysBytes, k_map, shared.k_full + stage, work.at, row);
      barrier_wait(shared.v_empty + stage, parity ^ 1);
      barrier_expect(shared.v_full + stage, Shape::kKeysBytes);
      load_head_rows<kD, Shape::kKeys>(shared.v + stage * Shape::kKeysBytes, v_map, shared.v_full + stage, work.at, row);
    }
  }
}

template <bool kTerms, int kKeys>
__device__ __forceinline__ void long_softmax(const Params &p, const Work &work, int j0, float unit, MmaFragment<1, kKeys> &s,
                                             RowState<2> &state, float (&factor)[2]) {
  if (!tile_is_plain<kTerms>(p, work.at.begin, j0, kKeys, work.end)) apply_terms<kTerms>(p, work.at, work.at.begin, j0, work.end, s);
  softmax_step(unit, s, state, factor);
}

template <int kD, bool kTerms>
__device__ __forceinline__ void consume_long(const LongShared<kD, kTerms> &shared, const Params &p, int64_t items) {
  using Shape = LongShape<kD, kTerms>;
  constexpr int kKeys = Shape::kKeys;
  const unsigned char *q = shared.q + threadIdx.x / 128 * 64 * kTileRowBytes;
  const float unit = exponent_unit<kTerms>(p);
  uint32_t count = 0, round = 0;
  for (int64_t item = blockIdx.x; item < items; item += gridDim.x, ++round) {
    const Work work(p, item);
    const int tiles = work.tiles(kKeys);
    MmaFragment<1, kD> o;
    MmaFragment<1, kKeys> s;
    Weights<kKeys> weights;
    RowState<2> state;
    float factor[2];
    o.clear();
    state.clear();
    barrier_wait(shared.q_full, round % 2);
    uint32_t stage = count % Shape::kStages, parity = count / Shape::kStages % 2;
    barrier_wait(shared.k_full + stage, parity);
    wgmma_fence();
    queue_scores<kD>(q, Shape::kRowsTileBytes, shared.k + stage * Shape::kKeysBytes, Shape::kKeysTileBytes, s);
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_keep(accumulators(s));
    release(shared.k_empty + stage);
    long_softmax<kTerms>(p, work, work.begin, unit, s, state, factor);
    weights.pack(s);
#pragma unroll 1
    for (int t = 1; t < tiles; ++t) {
      const uint32_t last_stage = stage, last_parity = parity;
      ++count;
      stage = count % Shape::kStages;
      parity = count / Shape::kStages % 2;
      barrier_wait(shared.k_full + stage, parity);
      wgmma_fence();
      queue_scores<kD>(q, Shape::kRowsTileBytes, shared.k + stage * Shape::kKeysBytes, Shape::kKeysTileBytes, s);
      wgmma_commit();
      barrier_wait(shared.v_full + last_stage, last_parity);
      queue_mix<kD>(weights, shared.v + last_stage * Shape::kKeysBytes, Shape::kKeysTileBytes, true, o);
      wgmma_commit();
      wgmma_wait<1>();
      wgmma_keep(accumulators(s));
      release(shared.k_empty + stage);
      long_softmax<kTerms>(p, work, work.begin + t * kKeys, unit, s, state, factor);
      wgmma_wait<0>();
      wgmma_keep(accumulators(o));
      weights.keep();
      release(shared.v_empty + last_stage);
      scale_rows(o, factor);
      weights.pack(s);
    }
    release(shared.q_empty);
    barrier_wait(shared.v_full + stage, parity);
    wgmma_fence();
    queue_mix<kD>(weights, shared.v + stage * Shape::kKeysBytes, Shape::kKeysTileBytes, true, o);
    wgmma_commit();
    wgmma_wait<0>();
    wgmma_keep(accumulators(o));
    weights.keep();
    release(shared.v_empty + stage);
    ++count;
    finish_tile(p, work.at, work.at.begin, unit, state, shared.out, o);
  }
}

#endif  // WM_USE_WGMMA

// O [B, Nq, A, dv] (=), LSE (=). Items are tiles of 128 queries of one head and key range, each with one key at least; 384
// threads, of which 256 own 64 rows a warpgroup; dynamic shared memory: Q, two stages of K and V, O (97 KB at d 64, 193 KB at
// d 128).
template <int kD, bool kTerms>
__global__ void __launch_bounds__(kSm90Threads, 1)
    attention_fwd_long_sm90_kernel(Params p, const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap k_map,
                                   const __grid_constant__ CUtensorMap v_map, int64_t items) {
#if WM_USE_WGMMA
  WM_DYNAMIC_SHARED(unsigned char, raw);
  const LongShared<kD, kTerms> shared(raw);
  if (threadIdx.x == 0) shared.init();
  __syncthreads();
  if (threadIdx.x >= kSm90ConsumerThreads) {
    registers_shrink<24>();
    if (threadIdx.x == kSm90ConsumerThreads) produce_long(shared, p, q_map, k_map, v_map, items);
  } else {
    registers_grow<240>();
    consume_long<kD, kTerms>(shared, p, items);
  }
#endif
}

}  // namespace wm::cuda::attention
