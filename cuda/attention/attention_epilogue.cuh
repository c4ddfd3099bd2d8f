// The end of a row: the self column (b5) joins, sums are divided by the mass, the first of two softmaxes is added, LSE and O
// are stored. For the fragments of every tier.
#pragma once

#include "cuda/attention/attention_softmax.cuh"

namespace wm::cuda::attention {

// Normalises the sums o of rows i0 + o.row(r), columns c0 + o.column(c), and stores LSE (with the columns from 0 alone).
template <class T, class Fragment>
__device__ void finish_rows(const Params &p, const Place &at, int i0, int c0, float unit,
                            const RowState<Fragment::kRows> &state, Fragment &o) {
#pragma unroll
  for (int r = 0; r < Fragment::kRows; ++r) {
    const int i = i0 + o.row(r);
    float mass = lanes_sum<Fragment::kLanes>(state.mass[r]);
    float peak = state.peak[r] * unit, share = 1.0f, own = 0.0f;
    const bool live = i < at.nq;
    if (p.self_logit != nullptr && live) {
      const float logit = p.self_logit[at.stats + i], top = fmaxf(peak, logit);
      share = peak == negative_infinity() ? 0.0f : exp2f(peak - top);
      own = exp2f(logit - top);
      mass = mass * share + own;
      peak = top;
    }
    const float inverse = mass == 0.0f ? 0.0f : 1.0f / mass;
    if (p.lse != nullptr && live && c0 == 0 && o.leads_row()) {
      p.lse[at.split * p.split_lse + at.stats + i] = mass == 0.0f ? negative_infinity() : (peak + log2f(mass)) * p.lse_unit;
    }
    share *= inverse;
    own *= inverse;
    const T *value = own == 0.0f ? nullptr : head_rows<T>(p.self_value, at) + i * p.self_value.row;
    const float *add = p.add.data == nullptr || !live ? nullptr : head_rows<float>(p.add, at) + i * p.add.row;
#pragma unroll
    for (int c = 0; c < Fragment::kColumns; ++c) {
      const int column = c0 + o.column(c);
      float x = o.at(r, c) * share;
      if (value != nullptr && column < p.dv) x += own * to_float(value[column * p.self_value.column]);
      if (add != nullptr && column < p.dv) x += add[column];
      o.at(r, c) = x;
    }
  }
}

// Rows [0, n) of a target that lie in the fragment, columns [0, width), from registers.
template <class T, class Fragment>
__device__ void store_rows(const Target &t, const Place &at, int64_t offset, int i0, int n, int c0, int width, Fragment &o) {
#pragma unroll
  for (int r = 0; r < Fragment::kRows; ++r) {
    const int i = i0 + o.row(r);
    if (i >= n) continue;
    const int64_t row = offset + target_row(t, at, i);
#pragma unroll
    for (int c = 0; c < Fragment::kColumns; ++c) {
      const int column = c0 + o.column(c);
      if (column >= width) continue;
      if (t.wide) static_cast<float *>(t.data)[row + column] = o.at(r, c);
      else static_cast<T *>(t.data)[row + column] = from_float<T>(o.at(r, c));
    }
  }
}

}  // namespace wm::cuda::attention
