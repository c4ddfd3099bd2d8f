// What forward and backward of alignment_stats share: the problem, similarity tiles of one image, and the analysis of
// one (image, text) row. Nothing here grows with images x texts x pixels.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "native/cpu/loss/alignment_select.h"
#include "native/cpu/math/gemm.h"
#include "native/cpu/math/rows.h"

namespace wm {

struct AlignmentProblem {
  int64_t batch, pixels, width, texts;       // embeddings [batch, pixels, width], text [texts, width]
  int64_t positives, negatives, rank, first;  // image i belongs to text first + i
  double temperature;
  bool cosine_pixels;

  int64_t own_text(int64_t image) const { return first + image; }
  // Texts whose similarities are held at once: 16 MiB of f32.
  int64_t tile_texts() const {
    return std::min(texts, std::max<int64_t>(1, (int64_t{1} << 22) / std::max<int64_t>(1, pixels)));
  }
};

inline AlignmentProblem alignment_problem(const OpCall &call) {
  const TensorView &x = call.in(0), &text = call.in(1);
  if (x.ndim != 3 || text.ndim != 2 || x.dim(2) != text.dim(1) || x.dtype != text.dtype)
    call.reject("embeddings must be [B, N, D] and text [Q, D] of one dtype");
  if (x.dtype != DType::f32 && x.dtype != DType::f64) call.reject("takes f32 or f64");
  AlignmentProblem p{x.dim(0), x.dim(1), x.dim(2), text.dim(0), call.attr_int(0), call.attr_int(1),
                     call.attr_int(2), call.attr_int(3), call.attr(4), call.attr_flag(5)};
  const auto within = [&](int64_t count) { return count >= 1 && count <= p.pixels; };
  if (p.batch > 0 && (!within(p.positives) || !within(p.negatives) || !within(p.rank)))
    call.reject("positives, negatives and rank must lie between 1 and the number of pixels");
  if (p.first < 0 || p.first > p.texts - p.batch) call.reject("each image must have a text of its own");
  if (p.pixels > (int64_t{1} << 31) - 1 || !(p.temperature > 0)) call.reject("too many pixels, or no temperature");
  return p;
}

template <class T>
void alignment_product(OpCall &call, const GemmArgs &args) {
  if constexpr (std::is_same_v<T, double>) {
    gemm_f64(call, args, {});
  } else {
    gemm(call, args);
  }
}

// 1 / length of each row, as the reference normalises: lengths below 1e-12 count as 1e-12.
template <class T>
void inverse_lengths(const OpCall &call, const T *rows, int64_t count, int64_t width, T *to) {
  const VectorOps<T> &ops = vector_ops<T>();
  call.parallel(count, row_grain(width), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T length = std::sqrt(ops.dot(rows + i * width, rows + i * width, width));
      to[i] = T(1) / std::max(length, T(1e-12));
    }
  });
}

// One image at a time against all texts: similarities [texts of a tile, pixels] = text x embeddings^T.
template <class T>
class AlignmentImage {
 public:
  AlignmentImage(OpCall &call, const AlignmentProblem &p)
      : call_(call),
        p_(p),
        text_(call.in(1).as<T>()),
        inverse_texts_(call.workspace<T>(std::max<int64_t>(1, p.texts))),
        inverse_pixels_(call.workspace<T>(std::max<int64_t>(1, p.pixels))),
        packed_(std::is_same_v<T, double>
                    ? nullptr
                    : call.workspace_bytes(static_cast<size_t>(gemm_packed_bytes(p.pixels, p.width, false) + 64))) {
    inverse_lengths(call, text_, p.texts, p.width, inverse_texts_);
  }

  void open(int64_t image) {
    rows_ = call_.in(0).as<T>() + image * p_.pixels * p_.width;
    own_ = p_.own_text(image);
    if (p_.cosine_pixels) inverse_lengths(call_, rows_, p_.pixels, p_.width, inverse_pixels_);
    if (packed_ != nullptr) gemm_pack_all(call_, pixels_operand(), p_.pixels, p_.width, false, packed_);
  }

  void similarities(int64_t text0, int64_t text1, T *to) {
    GemmArgs args;
    args.m = text1 - text0;
    args.n = p_.pixels;
    args.k = p_.width;
    args.a.data = text_ + text0 * p_.width;
    args.a.dtype = call_.in(0).dtype;
    args.a.row_stride = p_.width;
    args.a.k_stride = 1;
    args.b = pixels_operand();
    if (packed_ != nullptr) {
      args.b.data = packed_;
      args.b.packed = true;
    }
    args.out = to;
    args.out_dtype = args.a.dtype;
    alignment_product<T>(call_, args);
  }

  const T *rows() const { return rows_; }
  const T *text(int64_t j) const { return text_ + j * p_.width; }
  T inverse_text(int64_t j) const { return inverse_texts_[j]; }
  const T *inverse_pixels() const { return inverse_pixels_; }
  bool own(int64_t j) const { return j == own_; }

 private:
  GemmOperand pixels_operand() const {
    GemmOperand operand;
    operand.data = rows_;
    operand.dtype = call_.in(0).dtype;
    operand.row_stride = p_.width;
    operand.k_stride = 1;
    return operand;
  }

  OpCall &call_;
  const AlignmentProblem &p_;
  const T *text_, *rows_ = nullptr;
  T *inverse_texts_, *inverse_pixels_;
  void *packed_;
  int64_t own_ = -1;
};

// What one text sees in one image. Memory of one thread; `weight` and `index` hold the region's pixels in order.
template <class T>
class AlignmentRow {
 public:
  explicit AlignmentRow(const AlignmentProblem &p)
      : p_(p), values_(p.pixels), probability_(p.pixels), weight_(std::max(p.positives, p.negatives)),
        region_(p.width), index_(std::max(p.positives, p.negatives)), picker_(p.pixels) {}

  void analyse(const AlignmentImage<T> &image, int64_t j, const T *similarity) {
    const VectorOps<T> &ops = vector_ops<T>();
    const int64_t n = p_.pixels, d = p_.width;
    const bool own = image.own(j);
    const T top = ops.max(similarity, n);
    const T total = ops.exp_sum(similarity, top, static_cast<T>(1 / p_.temperature), probability_.data(), n);
    inverse_total = T(1) / total;
    count = own ? p_.positives : p_.negatives;
    picker_.largest(similarity, n, count, index_.data());
    for (int64_t i = 0; i < count; ++i) weight_.data()[i] = probability_.data()[index_.data()[i]] * inverse_total;
    std::fill(region_.data(), region_.data() + d, T(0));
    ops.weighted_rows(image.rows(), index_.data(), weight_.data(), count, region_.data(), d);
    const T length = std::sqrt(ops.dot(region_.data(), region_.data(), d));
    inverse_region = T(1) / std::max(length, T(1e-12));
    cosine = ops.dot(region_.data(), image.text(j), d) * inverse_region * image.inverse_text(j);
    const T *values = similarity;
    if (p_.cosine_pixels) {
      const T factor = image.inverse_text(j);
      for (int64_t i = 0; i < n; ++i) values_.data()[i] = similarity[i] * (image.inverse_pixels()[i] * factor);
      values = values_.data();
    }
    pixel_index = own ? picker_.rank(values, n, p_.rank) : picker_.first_largest(values, n);
    pixel = values[pixel_index];
  }

  const T *probability() { return probability_.data(); }  // times inverse_total
  const T *weight() { return weight_.data(); }
  const int32_t *index() { return index_.data(); }
  const T *region() { return region_.data(); }

  int64_t count = 0;
  int32_t pixel_index = 0;
  T inverse_total = 0, inverse_region = 0, cosine = 0, pixel = 0;

 private:
  const AlignmentProblem &p_;
  Scratch<T> values_, probability_, weight_, region_;
  Scratch<int32_t> index_;
  LargestPicker<T> picker_;
};

// Texts a parallel chunk takes: enough arithmetic for a turn of the pool.
inline int64_t alignment_grain(const AlignmentProblem &p) {
  return std::max<int64_t>(1, (int64_t{1} << 18) / std::max<int64_t>(1, p.negatives * p.width + 16 * p.pixels));
}

}  // namespace wm
