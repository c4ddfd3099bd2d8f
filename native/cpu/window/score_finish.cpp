// score_finish: what a running best (score_state.h) says. With p(x) = exp(scale * (x - peak)) / sum:
//   label    best class; where p(best) < threshold or p(best) - p(second) < margin_threshold, or where no
//   query
//            competed, the background class, or `nothing` where background is -1
//   score    p(best), margin p(best) - p(second), both of the winner before the thresholds
//   entropy  log(sum) - moment / sum, in nats over all queries
//   top k    classes (-1: none) and probabilities, falling
#include <algorithm>
#include <cfloat>
#include <cmath>

#include "native/cpu/window/score_state.h"

namespace wm {

namespace {

struct Finish {
  float scale, threshold, margin_threshold;
  int32_t background, nothing;
  int64_t topk, plane;
  bool probabilities;  // anything beyond plain labels
  float *score = nullptr, *margin = nullptr, *entropy = nullptr, *top_value = nullptr;
  int32_t *top_label = nullptr;
};

float probability(const Finish &f, float logit, float peak, float sum) {
  if (!(sum > 0) || logit <= -FLT_MAX) return 0.0f;
  return std::exp(f.scale * (logit - peak)) / sum;
}

template <class Label>
void finish_pixels(const Finish &f, const float *state, Label *labels, int64_t begin, int64_t end) {
  const int64_t plane = f.plane;
  for (int64_t i = begin; i < end; ++i) {
    const float sum = state[plane + i], peak = state[2 * plane + i];
    const auto best_label = static_cast<int32_t>(state[3 * plane + i]);
    bool keep = best_label >= 0;
    if (f.probabilities) {
      const float p = probability(f, state[i], peak, sum);
      const float margin = p - probability(f, state[4 * plane + i], peak, sum);
      keep = keep && !(p < f.threshold) && !(margin < f.margin_threshold);
      if (f.score != nullptr) f.score[i] = p;
      if (f.margin != nullptr) f.margin[i] = margin;
    }
    if (f.entropy != nullptr) {
      f.entropy[i] = sum > 0 ? std::max(std::log(sum) - state[5 * plane + i] / sum, 0.0f) : 0.0f;
    }
    for (int64_t k = 0; k < f.topk; ++k) {
      const float *entry = state + (kScorePlanes + k) * plane + i;
      if (f.top_label != nullptr) f.top_label[k * plane + i] = static_cast<int32_t>(entry[f.topk * plane]);
      if (f.top_value != nullptr) f.top_value[k * plane + i] = probability(f, *entry, peak, sum);
    }
    labels[i] = static_cast<Label>(keep ? best_label : f.background >= 0 ? f.background : f.nothing);
  }
}

template <class T>
T *plane_output(const OpCall &call, int index, DType dtype, int64_t count) {
  const TensorView &out = call.out(index);
  if (out.dtype != dtype || out.numel() != count) call.reject("output %d does not fit the state", index);
  return out.as<T>();
}

// state f32 [6 + 2 topk, rows, W]; attrs: scale, threshold, marginThreshold, background, nothing, labelBits,
// topk, score, margin, entropy -> labels u8 | i32 [rows, W], then as asked: score, margin, entropy f32 [rows,
// W], top classes i32 [topk, rows, W], top probabilities f32 [topk, rows, W]
void score_finish(OpCall &call) {
  const TensorView &state = call.in(0);
  Finish f{};
  f.scale = static_cast<float>(call.attr(0));
  f.threshold = static_cast<float>(call.attr(1));
  f.margin_threshold = static_cast<float>(call.attr(2));
  f.background = static_cast<int32_t>(call.attr_int(3));
  f.nothing = static_cast<int32_t>(call.attr_int(4));
  f.topk = call.attr_int(6);
  if (f.topk < 0 || f.topk > kMaxTopk || state.dtype != DType::f32 || state.ndim != 3 ||
      state.dim(0) != kScorePlanes + 2 * f.topk) {
    call.reject("the state must be f32 [6 + 2 topk, rows, W]");
  }
  f.plane = state.dim(1) * state.dim(2);
  int next = 1;
  if (call.attr_flag(7)) f.score = plane_output<float>(call, next++, DType::f32, f.plane);
  if (call.attr_flag(8)) f.margin = plane_output<float>(call, next++, DType::f32, f.plane);
  if (call.attr_flag(9)) f.entropy = plane_output<float>(call, next++, DType::f32, f.plane);
  if (f.topk > 0) {
    f.top_label = plane_output<int32_t>(call, next++, DType::i32, f.topk * f.plane);
    f.top_value = plane_output<float>(call, next++, DType::f32, f.topk * f.plane);
  }
  f.probabilities = f.score != nullptr || f.margin != nullptr || f.threshold > 0 || f.margin_threshold > 0;
  const TensorView &labels = call.out(0);
  if (labels.numel() != f.plane || (labels.dtype != DType::u8 && labels.dtype != DType::i32)) {
    call.reject("labels must be u8 or i32 [rows, W]");
  }
  call.parallel(f.plane, 8192, [&](int64_t begin, int64_t end) {
    if (labels.dtype == DType::u8)
      finish_pixels(f, state.as<float>(), labels.as<uint8_t>(), begin, end);
    else
      finish_pixels(f, state.as<float>(), labels.as<int32_t>(), begin, end);
  });
}

}  // namespace

WM_REGISTER_CPU_OP(score_finish, score_finish, kContiguous)

}  // namespace wm
