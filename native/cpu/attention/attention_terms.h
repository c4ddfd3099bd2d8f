// The additive terms of one logit row: gaussian grid (b1), dense bias (b2), bit mask (b3), class-token masks (b4).
// Causality and key lengths are not here: they shorten the row (key_limit).
#pragma once

#include "native/cpu/attention/attention.h"
#include "native/cpu/attention/attention_pack.h"

namespace wm {
namespace attention {

template <class T>
class Terms {
 public:
  // Tables live in the call's workspace. Computes the factor of every window where p.nonly.
  Terms(OpCall &call, const Params &p, const Kernels<T, T> &loops);

  // False: a row is scale * A B^T alone.
  bool any() const { return any_; }

  // The terms of query i and keys [j0, j0 + n): `buffer` filled, or the caller's dense bias itself. -inf where blocked.
  const T *row(int64_t b, int64_t head, int64_t i, int64_t j0, int64_t n, T *buffer) const;

  // Starts loading what row() of these arguments will read, where it is a dense bias: one row of it is a new page, which
  // the hardware does not foresee.
  void prefetch(int64_t b, int64_t head, int64_t i, int64_t j0, int64_t n) const;

  // The gaussian term alone, with factor 1 (the derivative by the window's factor).
  void gaussian_row(int64_t i, int64_t j0, int64_t n, T *out) const;

  // Scratch elements that gaussian_row and row need behind the n of a row.
  int64_t row_slack() const { return p_.sigma > 0 ? p_.nk : 0; }

  // Mean norms of A and B for each image and head, [B, A, 2], only with p.nonly.
  const T *mean_norms() const { return norms_; }

 private:
  // The caller's bias row itself where nothing else is added and its layout is that of a row, else null.
  const T *direct_bias(int64_t b, int64_t head, int64_t i, int64_t j0) const;
  void fill_dense(int64_t b, int64_t head, int64_t i, int64_t j0, int64_t n, T *out) const;
  void block_bits(int64_t b, int64_t i, int64_t j0, int64_t n, T *out) const;
  void add_class_row(int64_t b, int64_t head, int64_t i, int64_t j0, int64_t n, T *out) const;
  void make_gaussian(OpCall &call);
  void make_factors(OpCall &call);
  void make_rescued(OpCall &call);

  Params p_;
  const Kernels<T, T> &loops_;
  bool any_;
  T *gy_ = nullptr, *gx_ = nullptr;  // g(t) at [t + h - 1], [t + w - 1]
  T *norms_ = nullptr;
  T *factor_ = nullptr;              // [B]
  uint8_t *rescued_ = nullptr;       // [B, Nq]
};

}  // namespace attention
}  // namespace wm
