#include "native/cpu/window/score_state.h"

#include "native/core/refused_values.h"

namespace wm {

namespace {

// Inserts x of class `label` into the list of n pixels. What is pushed down replaces the class's old entry,
// if it had one.
void topk_row(float *best, float *labels, int64_t plane, int64_t topk, const float *x, float label,
              int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    float value = x[i], held = label;
    bool inserted = false;
    for (int64_t k = 0; k < topk; ++k) {
      float &entry = best[k * plane + i];
      float &owner = labels[k * plane + i];
      const bool same = owner == label;
      if (inserted || value > entry || (value == entry && label < owner)) {
        const float old_entry = entry, old_owner = owner;
        entry = value;
        owner = held;
        value = old_entry;
        held = old_owner;
        inserted = true;
      }
      if (same) break;
    }
  }
}

}  // namespace

ScoreState::ScoreState(const OpCall &call, const TensorView &state, int first_attr)
    : data_(state.as<float>()), settings_(read_score_settings(call, state, first_attr)) {
  rows_ = state.dim(1);
  width_ = state.dim(2);
  plane_ = rows_ * width_;
}

void ScoreState::take(int64_t row, int64_t column, int64_t n, const float *const *logits,
                      const int32_t *labels, int64_t count) const {
  float *p = data_ + row * width_ + column;
  merge_kernels().score_row({p, p + plane_, p + 2 * plane_, p + 3 * plane_, p + 4 * plane_, p + 5 * plane_},
                            logits, labels, count, settings_.scale,
                            {settings_.sum, settings_.second, settings_.moment}, n);
  if (settings_.topk == 0) return;
  float *best = p + kScorePlanes * plane_;
  for (int64_t k = 0; k < count; ++k) {
    if (labels[k] < 0) continue;
    topk_row(best, best + settings_.topk * plane_, plane_, settings_.topk, logits[k],
             static_cast<float>(labels[k]), n);
  }
}

const int32_t *checked_query_class(const OpCall &call, const TensorView &query_class, int64_t queries) {
  const int32_t *labels = read_query_class(call, query_class, queries);
  for (int64_t s = 0; s < queries; ++s) {
    if (labels[s] < -1 || labels[s] > kMaxQueryClass) call.reject(refused_query_class(s, labels[s]));
  }
  return labels;
}

}  // namespace wm
