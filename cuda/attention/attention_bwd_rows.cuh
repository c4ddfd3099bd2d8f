// The end of a row's statistics in the backward pass, for every tier: log2 of its mass and sum_j P dP, self column included.
#pragma once

#include "cuda/attention/attention_epilogue.cuh"

namespace wm::cuda::attention {

// What a row brings to its gradients.
struct RowGradient {
  float lse2, delta;
  float own;  // the gradient of the self column's logit, 0 without one
};

// `state` and `weighted` (sum of unnormalised P dP) are the lane's shares. The lane that leads a row stores it.
template <class Fragment>
__device__ void finish_statistics(const Params &p, const BackwardParams &g, const Place &at, int i0, float unit, bool store,
                                  const RowState<Fragment::kRows> &state, const float (&weighted)[Fragment::kRows],
                                  RowGradient (&out)[Fragment::kRows]) {
#pragma unroll
  for (int r = 0; r < Fragment::kRows; ++r) {
    const int i = i0 + Fragment::row(r);
    float mass = lanes_sum<Fragment::kLanes>(state.mass[r]), sum = lanes_sum<Fragment::kLanes>(weighted[r]);
    float peak = state.peak[r] * unit, own = 0.0f, d_own = 0.0f;
    const bool live = i < at.nq;
    if (p.self_logit != nullptr && live) {
      const float logit = p.self_logit[at.stats + i], top = fmaxf(peak, logit);
      const float share = peak == negative_infinity() ? 0.0f : exp2f(peak - top);
      own = exp2f(logit - top);
      d_own = g.self_gradient[at.stats + i];
      mass = mass * share + own;
      sum = sum * share + own * d_own;
      peak = top;
    }
    const float inverse = mass == 0.0f ? 0.0f : 1.0f / mass;
    // exp2(x - inf) is 0: a row blocked everywhere has no gradient.
    out[r].lse2 = mass == 0.0f ? -negative_infinity() : peak + log2f(mass);
    out[r].delta = sum * inverse;
    if (g.d_lse.data != nullptr && live) out[r].delta -= head_rows<float>(g.d_lse, at)[i * g.d_lse.row];
    out[r].own = own * inverse * (d_own - out[r].delta);
    if (store && live && Fragment::leads_row()) {
      g.lse2[at.stats + i] = out[r].lse2;
      g.delta[at.stats + i] = out[r].delta;
    }
  }
}

// weighted = weighted * factor + sum of p dp over the lane's columns.
template <class Fragment>
__device__ void add_weighted(Fragment &probabilities, Fragment &dp, const float (&factor)[Fragment::kRows],
                             float (&weighted)[Fragment::kRows]) {
#pragma unroll
  for (int r = 0; r < Fragment::kRows; ++r) {
    float sum = 0.0f;
#pragma unroll
    for (int c = 0; c < Fragment::kColumns; ++c) sum = fmaf(probabilities.at(r, c), dp.at(r, c), sum);
    weighted[r] = weighted[r] * factor[r] + sum;
  }
}

// dMaps of a tile joins dP. kTransposed: the fragment's rows are keys.
template <bool kTransposed = false, class Fragment>
__device__ void add_maps(const BackwardParams &g, const Place &at, int i0, int j0, int keys, Fragment &dp) {
  if (g.d_maps.data == nullptr) return;
  const float *maps = head_rows<float>(g.d_maps, at);
#pragma unroll
  for (int r = 0; r < Fragment::kRows; ++r) {
#pragma unroll
    for (int c = 0; c < Fragment::kColumns; ++c) {
      const int i = i0 + (kTransposed ? Fragment::column(c) : Fragment::row(r));
      const int j = j0 + (kTransposed ? Fragment::row(r) : Fragment::column(c));
      if (i < at.nq && j < keys) dp.at(r, c) += maps[i * g.d_maps.row + j * g.d_maps.column];
    }
  }
}

// da = scale * (da + the self column's share), rows of a tile.
template <class T, class Fragment>
__device__ void finish_rows_gradient(const Params &p, const BackwardParams &g, const Place &at, int i0, int c0,
                                     const RowGradient (&row)[Fragment::kRows], Fragment &da) {
#pragma unroll
  for (int r = 0; r < Fragment::kRows; ++r) {
    const int i = i0 + Fragment::row(r);
    const bool with_self = p.self_logit != nullptr && i < at.nq;
    const T *key = with_self ? head_rows<T>(g.self_key, at) + i * g.self_key.row : nullptr;
#pragma unroll
    for (int c = 0; c < Fragment::kColumns; ++c) {
      const int column = c0 + Fragment::column(c);
      float x = da.at(r, c);
      if (with_self && column < p.d) x = fmaf(row[r].own, to_float(key[column * g.self_key.column]), x);
      da.at(r, c) = x * p.scale;
    }
  }
}

// db = scale * db + add_b, dv = dv + add_v (+ db where both belong to v), rows of a key tile.
template <class Fragment>
__device__ void finish_keys_gradient(const Params &p, const BackwardParams &g, const Place &at, int j0, int c0, Fragment &db,
                                     Fragment &dv) {
#pragma unroll
  for (int r = 0; r < Fragment::kRows; ++r) {
    const int j = j0 + Fragment::row(r);
    const bool live = j < at.nk;
    const float *add_b = live && g.add_b.data != nullptr ? head_rows<float>(g.add_b, at) + j * g.add_b.row : nullptr;
    const float *add_v = live && g.add_v.data != nullptr ? head_rows<float>(g.add_v, at) + j * g.add_v.row : nullptr;
#pragma unroll
    for (int c = 0; c < Fragment::kColumns; ++c) {
      const int column = c0 + Fragment::column(c);
      float x = db.at(r, c) * p.scale, y = dv.at(r, c);
      if (add_b != nullptr && column < p.d) x += add_b[column];
      if (add_v != nullptr && column < p.dv) y += add_v[column];
      if (g.values_add_keys) y += x;
      db.at(r, c) = x;
      dv.at(r, c) = y;
    }
  }
}

}  // namespace wm::cuda::attention
