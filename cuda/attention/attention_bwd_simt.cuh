// Tiles of the portable backward pass: P from the inputs and the row statistics, dP, and dS = P (dP - delta).
#pragma once

#include "cuda/attention/attention_bwd_rows.cuh"
#include "cuda/attention/attention_tile_simt.cuh"

namespace wm::cuda::attention {

// Base pointers of a block's head.
template <class T>
struct HeadTensors {
  const T *a, *b, *v, *d_out;

  __device__ HeadTensors(const Params &p, const BackwardParams &g, const Place &at)
      : a(head_rows<T>(p.a, at)), b(head_rows<T>(p.b, at)), v(head_rows<T>(p.v, at)),
        d_out(g.d_out.data == nullptr ? nullptr : head_rows<T>(g.d_out, at)) {}
};

// s: exponents of rows i0 .. and keys j0 .. (-inf where blocked or from `keys` on); dp = dO V^T + dMaps.
template <int kWidth, class T>
__device__ void score_tile(SimtShared<kWidth> &shared, const Params &p, const BackwardParams &g, const Place &at,
                           const HeadTensors<T> &x, int i0, int j0, int keys, SimtFragment<1> &s, SimtFragment<1> &dp) {
  multiply_rows(shared, x.a, p.a, i0, at.nq, x.b, p.b, j0, keys, p.d, s);
  apply_terms<true>(p, at, i0, j0, keys, s);
  if (x.d_out != nullptr) multiply_rows(shared, x.d_out, g.d_out, i0, at.nq, x.v, p.v, j0, keys, p.dv, dp);
  else dp.clear();
  add_maps(g, at, i0, j0, keys, dp);
}

// s becomes P, dp becomes dS (without the scale), from each row's statistics.
__device__ inline void softmax_gradient(const float (&lse2)[4], const float (&delta)[4], SimtFragment<1> &s, SimtFragment<1> &dp) {
#pragma unroll
  for (int r = 0; r < 4; ++r) {
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      s.at(r, c) = exp2_approx(s.at(r, c) - lse2[r]);
      dp.at(r, c) = s.at(r, c) * (dp.at(r, c) - delta[r]);
    }
  }
}

__device__ inline void load_statistics(const BackwardParams &g, const Place &at, int i0, float (&lse2)[4], float (&delta)[4]) {
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const int i = i0 + SimtFragment<1>::row(r);
    lse2[r] = i < at.nq ? g.lse2[at.stats + i] : -negative_infinity();
    delta[r] = i < at.nq ? g.delta[at.stats + i] : 0.0f;
  }
}

// Grid over tiles of n rows and columns of the widest of d and dv; body(zero, width, grid).
template <class F>
void by_width_simt(LaunchCall &call, DType dtype, const Params &p, int n, F &&body) {
  const int widest = max(p.d, p.dv), width = widest <= 64 ? 64 : 128;
  dim3 grid = tile_grid(p, n, kSimtTile, 1);
  grid.y = static_cast<unsigned>(max(1, (widest + width - 1) / width));
  dispatch_float(call, dtype, [&](auto zero) { body(zero, width, grid); });
}

}  // namespace wm::cuda::attention
