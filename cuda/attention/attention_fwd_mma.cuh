// Attention forward, mma tier (bf16, sm_80 and later): four warps with 16 kTiles queries each, Q in registers, K and V in two
// stages of cp.async, P reused from the accumulators of S, online softmax in registers.
// Floor on an H200: 4 Nq Nk d FLOP over the mma.sync rate (about 0.6 of wgmma's 790 TFLOP/s). Expected limiter: shared-memory
// reads of the B fragments at kTiles 1 (256 bytes a product), exp2 and mma issue at kTiles 2.
#pragma once

#include "cuda/attention/attention_epilogue.cuh"
#include "cuda/attention/attention_tile_mma.cuh"

namespace wm::cuda::attention {

// Rows a warp: two tiles halve the reads of K and V a product, where registers allow.
template <int kD, bool kTerms>
struct MmaShape {
  static constexpr int kTiles = kD <= 64 && !kTerms ? 2 : 1;
  static constexpr int kRows = 16 * kTiles * kMmaWarps;
  // Keys of a stage, and of one step of the softmax: scores of 32 rows by 64 keys would not fit beside Q and O.
  static constexpr int kKeys = kD <= 128 ? 64 : 32, kStep = kD == 256 ? 16 : (kTiles == 1 && kD <= (kTerms ? 80 : 128) ? 64 : 32);
  // Wider heads read Q again at each use.
  static constexpr bool kKeepsQ = kD <= 128;
  static constexpr int kRowElements = kRows * MmaTile<kD>::kPitch, kKeyElements = kKeys * MmaTile<kD>::kPitch;
  static constexpr int kSharedBytes = (kRowElements + 4 * kKeyElements) * 2;
};

// O [B, Nq, A, dv] (=), LSE (=). One block a tile of kRows queries of one head and key range; 128 threads; dynamic shared
// memory: Q, and two stages of K and V (48 KB at d 64). Each warp owns its rows from scores to store. Bits of a row
// depend on its own keys alone: tiles start at key split * split_keys.
template <int kD, bool kTerms>
__global__ void __launch_bounds__(kMmaThreads, 2) attention_fwd_mma_kernel(Params p) {
  using Shape = MmaShape<kD, kTerms>;
  constexpr int kTiles = Shape::kTiles, kKeys = Shape::kKeys, kStep = Shape::kStep;
  WM_DYNAMIC_SHARED(bf16, shared);
  bf16 *const q_tile = shared, *const stages = shared + Shape::kRowElements;
  const Place at = locate(p, p.nq, Shape::kRows, p.splits);
  const int i0 = at.begin, warp_row = static_cast<int>(threadIdx.x) / kWarp * 16 * kTiles;
  const bf16 *a = head_rows<bf16>(p.a, at), *b = head_rows<bf16>(p.b, at), *v = head_rows<bf16>(p.v, at);
  const int begin = at.split * p.split_keys, end = min(tile_key_limit(p, at, Shape::kRows), begin + p.split_keys);
  const float unit = exponent_unit<kTerms>(p);
  const auto load_keys = [&](int j0, int stage) {
    bf16 *tile = stages + stage * 2 * Shape::kKeyElements;
    load_tile<kKeys, kD>(tile, b, p.b.row, j0, end, p.d);
    load_tile<kKeys, kD>(tile + Shape::kKeyElements, v, p.v.row, j0, end, p.dv);
  };
  load_tile<Shape::kRows, kD>(q_tile, a, p.a.row, i0, at.nq, p.d);
  cp_async_commit();
  if (begin < end) load_keys(begin, 0);
  cp_async_commit();
  cp_async_wait<1>();
  __syncthreads();
  RowOperand<kTiles, kD> q;
  if constexpr (Shape::kKeepsQ) q.load(q_tile, warp_row);
  MmaFragment<kTiles, kD> o;
  RowState<2 * kTiles> state;
  o.clear();
  state.clear();
  for (int j0 = begin, stage = 0; j0 < end; j0 += kKeys, stage ^= 1) {
    if (j0 + kKeys < end) load_keys(j0 + kKeys, stage ^ 1);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    const int last = i0 + warp_row < at.nq ? min(end, j0 + kKeys) : j0;
#pragma unroll 1
    for (int j = j0; j < last; j += kStep) {
      const bf16 *k_tile = stages + stage * 2 * Shape::kKeyElements + (j - j0) * MmaTile<kD>::kPitch;
      MmaFragment<kTiles, kStep> s;
      float factor[2 * kTiles];
      if constexpr (Shape::kKeepsQ) multiply_rows(q, k_tile, s);
      else multiply_rows<kD>(q_tile, warp_row, k_tile, s);
      if (!tile_is_plain<kTerms>(p, i0, j, kStep, end)) apply_terms<kTerms>(p, at, i0, j, end, s);
      softmax_step(unit, s, state, factor);
      scale_rows(o, factor);
      multiply_weights(s, k_tile + Shape::kKeyElements, o);
    }
    __syncthreads();  // the next round overwrites this stage
  }
  cp_async_wait<0>();
  if (i0 + warp_row >= at.nq) return;
  finish_rows<bf16>(p, at, i0, 0, unit, state, o);
  if (p.o.wide) store_pairs(p.o, at, at.split * p.split_o, i0, at.nq, p.dv, o);
  else store_through(q_tile, p.o, at, i0, at.nq, p.dv, o);
}

template <int kD, bool kTerms>
void launch_fwd_mma(LaunchCall &call, const Params &p) {
  using Shape = MmaShape<kD, kTerms>;
  WM_LAUNCH((attention_fwd_mma_kernel<kD, kTerms>), tile_grid(p, p.nq, Shape::kRows, p.splits), dim3(kMmaThreads),
            Shape::kSharedBytes, call.stream(), p);
}

template <int kD>
void launch_fwd_mma(LaunchCall &call, const Params &p) {
  if (p.has_terms) launch_fwd_mma<kD, true>(call, p);
  else launch_fwd_mma<kD, false>(call, p);
}

}  // namespace wm::cuda::attention
