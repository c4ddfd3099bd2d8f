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

float probability(const ScoreFinish &f, float logit, float peak, float sum) {
  if (!(sum > 0) || logit <= -FLT_MAX) return 0.0f;
  return std::exp(f.scale * (logit - peak)) / sum;
}

template <class Label>
void finish_pixels(const ScoreFinish &f, Label *labels, int64_t begin, int64_t end) {
  const float *state = f.state;
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

// state f32 [6 + 2 topk, rows, W]; attrs: scale, threshold, marginThreshold, background, nothing, labelBits,
// topk, score, margin, entropy -> labels u8 | i32 [rows, W], then as asked: score, margin, entropy f32 [rows,
// W], top classes i32 [topk, rows, W], top probabilities f32 [topk, rows, W]
void score_finish(OpCall &call) {
  const ScoreFinish f = read_score_finish(call);
  const TensorView &labels = call.out(0);
  call.parallel(f.plane, 8192, [&](int64_t begin, int64_t end) {
    if (labels.dtype == DType::u8)
      finish_pixels(f, labels.as<uint8_t>(), begin, end);
    else
      finish_pixels(f, labels.as<int32_t>(), begin, end);
  });
}

}  // namespace

WM_REGISTER_CPU_OP(score_finish, score_finish, kContiguous)

}  // namespace wm
