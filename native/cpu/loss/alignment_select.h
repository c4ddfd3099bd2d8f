// The k largest values of a row, lower index first among equals, by buckets: one pass sorts values into 256 equal
// intervals, and only the interval that holds the k-th value is looked at again.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "native/cpu/math/rows.h"

namespace wm {

template <class T>
class LargestPicker {
 public:
  explicit LargestPicker(int64_t n) : bucket_(n), candidates_(n + 1) {}

  // Index of the k-th value (k from 1) in descending order. With a value that is not finite: k - 1.
  int32_t rank(const T *x, int64_t n, int64_t k) {
    const VectorOps<T> &ops = vector_ops<T>();
    const T low = ops.min(x, n), high = ops.max(x, n);
    finite_ = std::isfinite(low) && std::isfinite(high);
    if (!finite_) return static_cast<int32_t>(k - 1);
    T scale = T(kBuckets) / (high - low);
    if (!std::isfinite(scale) || !(scale > T(0))) scale = T(0);  // equal values, or a range beyond the type's
    uint8_t *bucket = bucket_.data();
    int32_t counts[kBuckets] = {};
    for (int64_t i = 0; i < n; ++i)
      bucket[i] = static_cast<uint8_t>(std::min(static_cast<int>((x[i] - low) * scale), kBuckets - 1));
    for (int64_t i = 0; i < n; ++i) ++counts[bucket[i]];
    int64_t left = k;
    int at = kBuckets - 1;
    while (left > counts[at]) left -= counts[at--];
    int32_t *candidates = candidates_.data();
    int64_t found = 0;
    for (int64_t i = 0; i < n; ++i) {
      candidates[found] = static_cast<int32_t>(i);
      found += bucket[i] == at;
    }
    std::nth_element(candidates, candidates + left - 1, candidates + found, [x](int32_t a, int32_t b) {
      return x[a] > x[b] || (x[a] == x[b] && a < b);
    });
    return candidates[left - 1];
  }

  // Indices of the k largest values, ascending.
  void largest(const T *x, int64_t n, int64_t k, int32_t *indices) {
    const int32_t last = rank(x, n, k);
    int64_t found = 0;
    if (!finite_) {
      for (; found < k; ++found) indices[found] = static_cast<int32_t>(found);
      return;
    }
    const T least = x[last];
    for (int64_t i = 0; found < k; ++i) {
      indices[found] = static_cast<int32_t>(i);
      found += x[i] > least || (x[i] == least && i <= last);
    }
  }

  int32_t first_largest(const T *x, int64_t n) const {
    const T top = vector_ops<T>().max(x, n);
    for (int64_t i = 0; i < n; ++i) {
      if (x[i] == top) return static_cast<int32_t>(i);
    }
    return 0;  // no value equals a NaN
  }

 private:
  static constexpr int kBuckets = 256;
  bool finite_ = true;
  Scratch<uint8_t> bucket_;
  // One more than there are values: the loop above writes before it counts.
  Scratch<int32_t> candidates_;
};

}  // namespace wm
