// Checks of calls on pictures and score maps, and what they ask for: written once for the CPU's kernels and the device's
// launchers.
#pragma once

#include <algorithm>

#include "native/core/op_arguments.h"

namespace wm {

// --- Convolution: x [B, H, W, C] with weight [O, C, kh, kw] gives y [B, out_h, out_w, O].

struct ConvProblem {
  int64_t batch, height, width, channels, outputs, kernel_h, kernel_w, stride, padding, out_h, out_w;

  int64_t taps() const { return kernel_h * kernel_w; }
  int64_t in_pixels() const { return height * width; }
  int64_t out_pixels() const { return out_h * out_w; }
};

// Completes and checks: out_h, out_w, positive kernel and stride, padding below the kernel.
inline ConvProblem make_conv_problem(const OpArguments &call, int64_t batch, int64_t height, int64_t width,
                                     int64_t channels, int64_t outputs, int64_t kernel_h, int64_t kernel_w,
                                     int64_t stride, int64_t padding) {
  if (kernel_h < 1 || kernel_w < 1 || stride < 1 || padding < 0 || padding >= std::min(kernel_h, kernel_w)) {
    call.reject("the kernel must have elements, stride be positive and padding below the kernel's size");
  }
  ConvProblem p{batch, height, width, channels, outputs, kernel_h, kernel_w, stride, padding, 0, 0};
  if (height + 2 * padding < kernel_h || width + 2 * padding < kernel_w) {
    call.reject("a picture of %lld x %lld is smaller than the kernel", static_cast<long long>(height),
                static_cast<long long>(width));
  }
  p.out_h = (height + 2 * padding - kernel_h) / stride + 1;
  p.out_w = (width + 2 * padding - kernel_w) / stride + 1;
  return p;
}

// --- Blur

struct BlurSpec {
  double sigma;
  int64_t radius;
  bool mirror;  // where the border is: without or with the edge pixel repeated
};

constexpr int64_t kMaxBlurRadius = 1 << 20;

// attrs: sigma, truncate, mode
inline BlurSpec read_blur(const OpArguments &call) {
  const double sigma = call.attr(0), truncate = call.attr(1);
  if (!(sigma > 0.0) || !(truncate >= 0.0) || !(truncate * sigma < static_cast<double>(kMaxBlurRadius))) {
    call.reject("needs sigma > 0, truncate >= 0 and a radius below %lld, got sigma %g, truncate %g",
                static_cast<long long>(kMaxBlurRadius), sigma, truncate);
  }
  return {sigma, static_cast<int64_t>(truncate * sigma + 0.5), call.attr_int(2) == 1};
}

// --- Scores: the state of a running best is f32 [kScorePlanes + 2 topk, rows, W].

constexpr int kScorePlanes = 6;
constexpr int64_t kMaxTopk = 64;

struct ScoreSettings {
  float scale;  // before the softmax
  bool sum, second, moment;
  int64_t topk;
};

// Attributes from `first`: scale, sum, second, moment, topk.
inline ScoreSettings read_score_settings(const OpArguments &call, const TensorView &state, int first) {
  const ScoreSettings s{static_cast<float>(call.attr(first)), call.attr_flag(first + 1), call.attr_flag(first + 2),
                        call.attr_flag(first + 3), call.attr_int(first + 4)};
  if (!(s.scale > 0) || !std::isfinite(s.scale)) {
    call.reject("scale must be positive and finite, got %g", static_cast<double>(s.scale));
  }
  if (s.moment && !s.sum) call.reject("the moment needs the sum");
  if (s.topk < 0 || s.topk > kMaxTopk) {
    call.reject("topk must be 0..%lld, got %lld", static_cast<long long>(kMaxTopk), static_cast<long long>(s.topk));
  }
  if (state.dtype != DType::f32 || state.ndim != 3 || state.dim(0) != kScorePlanes + 2 * s.topk) {
    call.reject("the state must be f32 [%lld, rows, W]", static_cast<long long>(kScorePlanes + 2 * s.topk));
  }
  return s;
}

// i32 [queries]; the classes themselves are the kernel's to look at.
inline const int32_t *read_query_class(const OpArguments &call, const TensorView &query_class, int64_t queries) {
  if (query_class.dtype != DType::i32 || query_class.ndim != 1 || query_class.dim(0) != queries) {
    call.reject("query_class must be i32 [%lld]", static_cast<long long>(queries));
  }
  return query_class.as<const int32_t>();
}

inline void check_score_state(const OpArguments &call, const TensorView &state, int64_t topk) {
  if (topk < 0 || topk > kMaxTopk || state.dtype != DType::f32 || state.ndim != 3 ||
      state.dim(0) != kScorePlanes + 2 * topk) {
    call.reject("the state must be f32 [6 + 2 topk, rows, W]");
  }
}

// What score_finish is asked for. Null planes: not asked for.
struct ScoreFinish {
  const float *state;
  int64_t plane;
  float scale, threshold, margin_threshold;
  int32_t background, nothing;
  int topk;
  bool probabilities;  // anything beyond plain labels
  float *score, *margin, *entropy, *top_value;
  int32_t *top_label;
};

template <class T>
T *read_plane(const OpArguments &call, int index, DType dtype, int64_t count) {
  const TensorView &out = call.out(index);
  if (out.dtype != dtype || out.numel() != count) call.reject("output %d does not fit the state", index);
  return out.as<T>();
}

// attrs: scale, threshold, marginThreshold, background, nothing, labelBits, topk, score, margin, entropy
inline ScoreFinish read_score_finish(const OpArguments &call) {
  const TensorView &state = call.in(0), &labels = call.out(0);
  ScoreFinish f{};
  f.scale = static_cast<float>(call.attr(0));
  f.threshold = static_cast<float>(call.attr(1));
  f.margin_threshold = static_cast<float>(call.attr(2));
  f.background = static_cast<int32_t>(call.attr_int(3));
  f.nothing = static_cast<int32_t>(call.attr_int(4));
  check_score_state(call, state, call.attr_int(6));
  f.topk = static_cast<int>(call.attr_int(6));
  f.state = state.as<const float>();
  f.plane = state.dim(1) * state.dim(2);
  int next = 1;
  if (call.attr_flag(7)) f.score = read_plane<float>(call, next++, DType::f32, f.plane);
  if (call.attr_flag(8)) f.margin = read_plane<float>(call, next++, DType::f32, f.plane);
  if (call.attr_flag(9)) f.entropy = read_plane<float>(call, next++, DType::f32, f.plane);
  if (f.topk > 0) {
    f.top_label = read_plane<int32_t>(call, next++, DType::i32, f.topk * f.plane);
    f.top_value = read_plane<float>(call, next++, DType::f32, f.topk * f.plane);
  }
  f.probabilities = f.score != nullptr || f.margin != nullptr || f.threshold > 0 || f.margin_threshold > 0;
  if (labels.numel() != f.plane || (labels.dtype != DType::u8 && labels.dtype != DType::i32)) {
    call.reject("labels must be u8 or i32 [rows, W]");
  }
  return f;
}

}  // namespace wm
