// Attention backward, mma tier (bf16), in two kernels without atomics. Queries' half: row statistics in a first round over the
// keys, dA = scale dS B in a second. Keys' half: S and dP transposed, so that P^T and dS^T come out of the accumulators as
// the A of dV += P^T dO and dB += dS^T A.
// Floor on an H200: 18 Nq Nk d FLOP over the mma.sync rate (about 0.6 of wgmma's 790 TFLOP/s). Expected limiter: shared-memory
// reads (256 bytes a product) and the repeated scores.
#pragma once

#include "cuda/attention/attention_bwd_rows.cuh"
#include "cuda/attention/attention_tile_mma.cuh"

namespace wm::cuda::attention {

// kGeneral: with terms, dMaps, or without dO; else all of that is known to be absent.
template <int kD, bool kGeneral>
struct MmaBackwardShape {
  static constexpr int kRows = 16 * kMmaWarps;  // that a block owns
  // Of the other side, a stage: what registers leave for scores and dP.
  static constexpr int kStep = kGeneral ? (kD <= 80 ? 32 : 16) : (kD <= 64 ? 64 : 32);
  static constexpr int kRowElements = kRows * MmaTile<kD>::kPitch, kStepElements = kStep * MmaTile<kD>::kPitch;
  // Two operands of its own rows, two of the other side in two stages, two stages of row statistics.
  static constexpr int kSharedBytes = (2 * kRowElements + 4 * kStepElements) * 2 + 4 * kStep * 4;
};

// lse2, delta [B, A, Nq] (=), dA (=). One block a tile of 64 queries of one head; 128 threads; dynamic shared memory: Q and dO,
// and two stages of K and V (49 KB at d 64). Each warp owns 16 queries.
template <int kD, bool kGeneral>
__global__ void __launch_bounds__(kMmaThreads, 2) attention_bwd_rows_mma_kernel(Params p, BackwardParams g) {
  using Shape = MmaBackwardShape<kD, kGeneral>;
  constexpr int kStep = Shape::kStep;
  WM_DYNAMIC_SHARED(bf16, shared);
  bf16 *const q_tile = shared, *const d_tile = shared + Shape::kRowElements, *const stages = d_tile + Shape::kRowElements;
  const Place at = locate(p, p.nq, Shape::kRows, 1);
  const int i0 = at.begin, warp_row = static_cast<int>(threadIdx.x) / kWarp * 16;
  const int end = tile_key_limit(p, at, Shape::kRows), rounds = (end + kStep - 1) / kStep;
  const bf16 *b = head_rows<bf16>(p.b, at), *v = head_rows<bf16>(p.v, at);
  const float unit = exponent_unit<kGeneral>(p);
  const auto load_keys = [&](int j0, int stage) {
    bf16 *tile = stages + stage * 2 * Shape::kStepElements;
    load_tile<kStep, kD>(tile, b, p.b.row, j0, end, p.d);
    load_tile<kStep, kD>(tile + Shape::kStepElements, v, p.v.row, j0, end, p.dv);
  };
  load_tile<Shape::kRows, kD>(q_tile, head_rows<bf16>(p.a, at), p.a.row, i0, at.nq, p.d);
  const bool with_out = !kGeneral || g.d_out.data != nullptr;
  if (with_out) load_tile<Shape::kRows, kD>(d_tile, head_rows<bf16>(g.d_out, at), g.d_out.row, i0, at.nq, p.dv);
  if (rounds > 0) load_keys(0, 0);
  cp_async_commit();
  MmaFragment<1, kD> da;
  RowState<2> state;
  RowGradient row[2] = {};
  float weighted[2] = {};
  da.clear();
  state.clear();
  if (rounds == 0) finish_statistics<MmaFragment<1, kStep>>(p, g, at, i0, unit, true, state, weighted, row);
  // Two rounds over the keys: t counts tiles of both.
#pragma unroll 1
  for (int t = 0; t < 2 * rounds; ++t) {
    const int j0 = (t < rounds ? t : t - rounds) * kStep;
    if (t + 1 < 2 * rounds) load_keys((t + 1 < rounds ? t + 1 : t + 1 - rounds) * kStep, (t + 1) % 2);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    const bf16 *k_tile = stages + t % 2 * 2 * Shape::kStepElements;
    MmaFragment<1, kStep> s, dp;
    multiply_rows<kD>(q_tile, warp_row, k_tile, s);
    if (!tile_is_plain<kGeneral>(p, i0, j0, kStep, end)) apply_terms<kGeneral>(p, at, i0, j0, end, s);
    if (with_out) multiply_rows<kD>(d_tile, warp_row, k_tile + Shape::kStepElements, dp);
    else dp.clear();
    if (kGeneral) add_maps(g, at, i0, j0, end, dp);
    if (t < rounds) {
      float factor[2];
      softmax_step(unit, s, state, factor);
      add_weighted(s, dp, factor, weighted);
      if (t + 1 == rounds) finish_statistics<MmaFragment<1, kStep>>(p, g, at, i0, unit, true, state, weighted, row);
    } else {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
#pragma unroll
        for (int c = 0; c < kStep / 4; ++c) {
          dp.at(r, c) = exp2_approx(fmaf(s.at(r, c), unit, -row[r].lse2)) * (dp.at(r, c) - row[r].delta);
        }
      }
      multiply_weights(dp, k_tile, da);
    }
    __syncthreads();  // the next round overwrites this stage
  }
  cp_async_wait<0>();
  if (g.da.data == nullptr) return;
  finish_rows_gradient<bf16>(p, g, at, i0, 0, row, da);
  store_pairs(g.da, at, 0, i0, at.nq, p.d, da);
}

// dB, dV (=) of a tile of 64 keys from lse2 and delta. One block of 128 threads; dynamic shared memory: K and V of the tile,
// two stages of Q, dO and the statistics. Each warp owns 16 keys; query tiles in order from the first that sees the keys.
template <int kD, bool kGeneral>
__global__ void __launch_bounds__(kMmaThreads, 2) attention_bwd_keys_mma_kernel(Params p, BackwardParams g) {
  using Shape = MmaBackwardShape<kD, kGeneral>;
  constexpr int kStep = Shape::kStep;
  WM_DYNAMIC_SHARED(bf16, shared);
  bf16 *const k_tile = shared, *const v_tile = shared + Shape::kRowElements, *const stages = v_tile + Shape::kRowElements;
  float *const statistics = reinterpret_cast<float *>(stages + 4 * Shape::kStepElements);  // [stage][lse2, delta][query]
  const Place at = locate(p, p.nk, Shape::kRows, 1);
  const int thread = static_cast<int>(threadIdx.x), j0 = at.begin, warp_row = thread / kWarp * 16;
  const bool with_out = !kGeneral || g.d_out.data != nullptr;
  const bf16 *a = head_rows<bf16>(p.a, at), *d_out = with_out ? head_rows<bf16>(g.d_out, at) : nullptr;
  const float unit = exponent_unit<kGeneral>(p);
  const auto load_rows = [&](int i0, int stage) {
    bf16 *tile = stages + stage * 2 * Shape::kStepElements;
    load_tile<kStep, kD>(tile, a, p.a.row, i0, at.nq, p.d);
    if (with_out) load_tile<kStep, kD>(tile + Shape::kStepElements, d_out, g.d_out.row, i0, at.nq, p.dv);
  };
  // One value a thread: the first kStep threads lse2, the next delta.
  const auto read_statistic = [&](int i0) {
    const int i = i0 + thread % kStep;
    if (thread >= 2 * kStep) return 0.0f;
    if (i >= at.nq) return thread < kStep ? -negative_infinity() : 0.0f;
    return (thread < kStep ? g.lse2 : g.delta)[at.stats + i];
  };
  const auto keep_statistic = [&](int stage, float value) {
    if (thread < 2 * kStep) statistics[stage * 2 * kStep + thread] = value;
  };
  const int first = p.causal ? j0 : 0, last = j0 < at.keys ? at.nq : 0;
  if (first < last) {
    load_tile<Shape::kRows, kD>(k_tile, head_rows<bf16>(p.b, at), p.b.row, j0, at.keys, p.d);
    load_tile<Shape::kRows, kD>(v_tile, head_rows<bf16>(p.v, at), p.v.row, j0, at.keys, p.dv);
    load_rows(first, 0);
    keep_statistic(0, read_statistic(first));
  }
  cp_async_commit();
  MmaFragment<1, kD> db, dv;
  db.clear();
  dv.clear();
#pragma unroll 1
  for (int i0 = first, stage = 0; i0 < last; i0 += kStep, stage ^= 1) {
    float next = 0.0f;
    if (i0 + kStep < last) {
      load_rows(i0 + kStep, stage ^ 1);
      next = read_statistic(i0 + kStep);
    }
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    const bf16 *q_tile = stages + stage * 2 * Shape::kStepElements, *d_tile = q_tile + Shape::kStepElements;
    const float *lse2 = statistics + stage * 2 * kStep, *delta = lse2 + kStep;
    MmaFragment<1, kStep> s, dp;
    multiply_rows<kD>(k_tile, warp_row, q_tile, s);
    // Queries behind the last have lse2 +inf, so that only keys need a look.
    if (!tile_is_plain<kGeneral>(p, i0, j0, Shape::kRows, at.keys)) apply_terms<kGeneral, true>(p, at, i0, j0, at.keys, s);
    if (with_out) multiply_rows<kD>(v_tile, warp_row, d_tile, dp);
    else dp.clear();
    if (kGeneral) add_maps<true>(g, at, i0, j0, at.keys, dp);
#pragma unroll
    for (int c = 0; c < kStep / 4; ++c) {
      const float log_mass = lse2[s.column(c)], shift = delta[s.column(c)];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        s.at(r, c) = exp2_approx(fmaf(s.at(r, c), unit, -log_mass));
        dp.at(r, c) = s.at(r, c) * (dp.at(r, c) - shift);
      }
    }
    if (with_out) multiply_weights(s, d_tile, dv);
    multiply_weights(dp, q_tile, db);
    keep_statistic(stage ^ 1, next);
    __syncthreads();  // the next round overwrites this stage
  }
  cp_async_wait<0>();
  finish_keys_gradient(p, g, at, j0, 0, db, dv);
  if (g.db.data != nullptr) store_pairs(g.db, at, 0, j0, at.nk, p.d, db);
  if (g.dv.data != nullptr) store_pairs(g.dv, at, 0, j0, at.nk, p.dv, dv);
}

template <int kD, bool kGeneral>
void launch_bwd_mma(LaunchCall &call, const Params &p, const BackwardParams &g) {
  using Shape = MmaBackwardShape<kD, kGeneral>;
  WM_LAUNCH((attention_bwd_rows_mma_kernel<kD, kGeneral>), tile_grid(p, p.nq, Shape::kRows, 1), dim3(kMmaThreads),
            Shape::kSharedBytes, call.stream(), p, g);
  WM_LAUNCH((attention_bwd_keys_mma_kernel<kD, kGeneral>), tile_grid(p, p.nk, Shape::kRows, 1), dim3(kMmaThreads),
            Shape::kSharedBytes, call.stream(), p, g);
}

template <int kD>
void launch_bwd_mma(LaunchCall &call, const Params &p, const BackwardParams &g) {
  if (p.has_terms || g.d_out.data == nullptr || g.d_maps.data != nullptr) launch_bwd_mma<kD, true>(call, p, g);
  else launch_bwd_mma<kD, false>(call, p, g);
}

}  // namespace wm::cuda::attention
