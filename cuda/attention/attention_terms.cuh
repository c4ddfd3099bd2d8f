// Products to exponents of 2: scale, gaussian grid (b1), dense bias (b2), bit mask (b3), class tokens (b4), causality (b6)
// and key length (b7), for the score fragments of every tier. The grid is held as two 1-D tables, the class-token part as
// its n x P masks; no matrix over queries and keys is built.
#pragma once

#include "cuda/attention/attention_place.cuh"

namespace wm::cuda::attention {

// SAN hides tokens by this much, not by -inf: its shadow class tokens were trained so.
constexpr float kSanForbidden = -100.0f;

__device__ inline float negative_infinity() { return -__int_as_float(0x7f800000); }

__device__ inline float load_any(const void *data, DType dtype, int64_t i) {
  if (dtype == DType::bf16) return to_float(static_cast<const bf16 *>(data)[i]);
  if (dtype == DType::f16) return to_float(static_cast<const f16 *>(data)[i]);
  return static_cast<const float *>(data)[i];
}

// What the terms of one query need, whatever the key.
struct RowTerms {
  int gy, gx;      // the row's place in the tables: g at [y of the key + gy], [x of the key + gx]
  bool on_grid;
  float factor;
  int64_t bias, class_masks;  // where its values start
  const uint8_t *mask;        // null: nothing is blocked
};

__device__ inline RowTerms row_terms(const Terms &t, const Place &at, int i, int nq) {
  RowTerms row;
  row.on_grid = t.gy != nullptr && i >= t.lead;
  row.gy = row.gx = 0;
  row.factor = 1.0f;
  if (row.on_grid) {
    const int y = (i - t.lead) / t.grid_w;
    row.gy = t.grid_h - 1 - y;
    row.gx = t.grid_w - 1 - (i - t.lead - y * t.grid_w);
    if (t.factor != nullptr) row.factor = t.factor[at.b];
  }
  row.bias = at.b * t.bias.step[0] + at.head * t.bias.step[1] + i * t.bias.step[2];
  row.class_masks = at.b * t.class_masks.step[0] + at.head * t.class_masks.step[1] + i * t.class_masks.step[2];
  row.mask = nullptr;
  if (t.mask != nullptr && (t.rescued == nullptr || t.rescued[static_cast<int64_t>(at.b) * nq + i] == 0)) {
    row.mask = t.mask + at.b * t.mask_step[0] + i * t.mask_step[1];
  }
  return row;
}

// g(dy) g(dx) between the row's patch and key j, 0 before the grid.
__device__ inline float gaussian_term(const Terms &t, const RowTerms &row, int j) {
  const int patch = j - t.lead;
  if (!row.on_grid || patch < 0) return 0.0f;
  // The quotient by a product: half a unit from a whole number is more than its rounding for fewer than 2^21 keys.
  const int y = static_cast<int>((static_cast<float>(patch) + 0.5f) * t.inverse_w);
  return __ldg(t.gy + row.gy + y) * __ldg(t.gx + row.gx + patch - y * t.grid_w);
}

__device__ inline float class_term(const Terms &t, const RowTerms &row, int i, int j) {
  const bool san = t.class_mode == ClassMode::san;
  const int first_patch = t.class_tokens + (san ? 1 : 0);
  const float hidden = san ? kSanForbidden : negative_infinity();
  if (i >= t.class_tokens) return j < t.class_tokens ? hidden : 0.0f;
  if (j < first_patch) return j == i ? 0.0f : hidden;
  const float value = load_any(t.class_masks.data, t.class_masks.dtype, row.class_masks + (j - first_patch) * t.class_masks.step[3]);
  if (san) return value;
  return value >= 0.5f ? 0.0f : hidden;
}

// The scores of one query that a thread holds: of a fragment's row, or of its column where the fragment's rows are keys.
template <bool kTransposed, class Fragment>
struct Line {
  static constexpr int kLines = kTransposed ? Fragment::kColumns : Fragment::kRows;
  static constexpr int kKeys = kTransposed ? Fragment::kRows : Fragment::kColumns;
  Fragment &s;
  int line, j0, limit;

  __device__ static int query(int line) { return kTransposed ? Fragment::column(line) : Fragment::row(line); }
  __device__ float &at(int k) { return kTransposed ? s.at(k, line) : s.at(line, k); }
  __device__ int key(int k) const { return j0 + (kTransposed ? Fragment::row(k) : Fragment::column(k)); }
  // The key, or the last allowed one: loads without a branch, whose excess is blocked in the end. There is one at least.
  __device__ int allowed_key(int k) const { return min(key(k), limit - 1); }
};

template <class T, class L>
__device__ void add_dense(const void *data, int64_t row, int64_t step, L &line) {
  const T *values = static_cast<const T *>(data) + row;
#pragma unroll
  for (int k = 0; k < L::kKeys; ++k) line.at(k) += to_float(values[line.allowed_key(k) * step]);
}

// One kind of term after the other, each a loop without branches on what the call has.
template <class L>
__device__ void add_terms(const Terms &t, const RowTerms &row, int i, L &line) {
  if (row.on_grid) {
#pragma unroll
    for (int k = 0; k < L::kKeys; ++k) line.at(k) = fmaf(row.factor, gaussian_term(t, row, line.allowed_key(k)), line.at(k));
  }
  if (t.bias.data != nullptr) {
    if (t.bias.dtype == DType::bf16) add_dense<bf16>(t.bias.data, row.bias, t.bias.step[3], line);
    else if (t.bias.dtype == DType::f16) add_dense<f16>(t.bias.data, row.bias, t.bias.step[3], line);
    else add_dense<float>(t.bias.data, row.bias, t.bias.step[3], line);
  }
  if (t.class_mode != ClassMode::none) {
#pragma unroll
    for (int k = 0; k < L::kKeys; ++k) line.at(k) += class_term(t, row, i, line.allowed_key(k));
  }
  if (row.mask != nullptr) {
#pragma unroll
    for (int k = 0; k < L::kKeys; ++k) {
      const int j = line.allowed_key(k);
      if ((row.mask[(j >> 3) * t.mask_step[2]] >> (j & 7) & 1) != 0) line.at(k) = negative_infinity();
    }
  }
}

// Factor that turns the results of apply_terms into exponents of 2.
template <bool kTerms>
__device__ float exponent_unit(const Params &p) {
  // exp2 with a factor on the raw products saves a multiplication each.
  return kTerms ? 1.0f : p.scale * kLog2e;
}

// Products of queries from i0 and keys from j0: -inf where blocked; else left as they are, or with kTerms exponents of 2 with
// all terms in. `keys`: end of the block's keys. kTransposed: the fragment's rows are keys.
template <bool kTerms, bool kTransposed = false, class Fragment>
__device__ void apply_terms(const Params &p, const Place &at, int i0, int j0, int keys, Fragment &s) {
  using L = Line<kTransposed, Fragment>;
#pragma unroll
  for (int number = 0; number < L::kLines; ++number) {
    const int i = i0 + L::query(number);
    L line{s, number, j0, min(keys, key_limit(p, at, i))};
    if (kTerms && line.limit > 0) {
#pragma unroll
      for (int k = 0; k < L::kKeys; ++k) line.at(k) *= p.scale;
      add_terms(p.terms, row_terms(p.terms, at, i, p.nq), i, line);
#pragma unroll
      for (int k = 0; k < L::kKeys; ++k) line.at(k) *= kLog2e;
    }
#pragma unroll
    for (int k = 0; k < L::kKeys; ++k) {
      if (line.key(k) >= line.limit) line.at(k) = negative_infinity();
    }
  }
}

// Whether apply_terms would leave a tile of `columns` keys from j0 as it is.
template <bool kTerms>
__device__ bool tile_is_plain(const Params &p, int i0, int j0, int columns, int keys) {
  return !kTerms && j0 + columns <= keys && (!p.causal || j0 + columns <= i0 + 1);
}

}  // namespace wm::cuda::attention
