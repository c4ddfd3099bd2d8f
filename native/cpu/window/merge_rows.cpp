// Portable row loops of the window compositor and the running best, and the choice of the instruction set.
#include "native/cpu/window/merge_rows.h"

#include <algorithm>
#include <cmath>

#include "native/core/cpu_info.h"

namespace wm {

namespace {

inline float lerp(float a, float b, float t) { return a + t * (b - a); }

void lerp_columns(const float *src, ColumnTaps taps, int64_t n, float *dst) {
  for (int64_t i = 0; i < n; ++i) dst[i] = lerp(src[taps.low[i]], src[taps.high[i]], taps.fraction[i]);
}

void lerp_rows(const float *top, const float *bottom, float fy, int64_t n, float *dst) {
  for (int64_t i = 0; i < n; ++i) dst[i] = lerp(top[i], bottom[i], fy);
}

void window_row(const float *top, const float *bottom, float fy, int64_t width, ColumnTaps taps, int64_t n,
                float *scratch, float *dst) {
  lerp_rows(top, bottom, fy, width, scratch);
  for (int64_t i = 0; i < n; ++i)
    dst[i] += lerp(scratch[taps.low[i]], scratch[taps.high[i]], taps.fraction[i]);
}

void divide_row(float *row, const float *count, int64_t n) {
  for (int64_t i = 0; i < n; ++i) row[i] /= count[i];
}

// Softmax sum relative to the running maximum: one exponential an update, of the distance between the two.
inline void update_sum(const ScoreRow &row, float x, float scale, bool moment, int64_t i) {
  const float peak = row.peak[i];
  const bool higher = x > peak;
  const float t = scale * std::fabs(x - peak);
  const float e = std::exp(-t);
  const float sum = row.sum[i];
  if (moment) {
    // exp(-200) is 0 in f32 anyway; the bound keeps 0 * infinity out of the first step.
    const float bounded = std::min(t, 200.0f);
    row.moment[i] = higher ? e * (row.moment[i] - bounded * sum) : row.moment[i] - bounded * e;
  }
  row.sum[i] = higher ? sum * e + 1.0f : sum + e;
  row.peak[i] = higher ? x : peak;
}

// Best and best of another label. When another label takes over, the old best is the best of the others.
inline void update_best(const ScoreRow &row, float x, float label, bool second, int64_t i) {
  const float best = row.best[i], holder = row.label[i];
  const bool same = holder == label;
  const bool takes = !same && (x > best || (x == best && label < holder));
  if (second && !same) row.second[i] = std::max(row.second[i], std::min(x, best));
  row.best[i] = x > best ? x : best;
  row.label[i] = takes ? label : holder;
}

void score_row(ScoreRow row, const float *const *logits, const int32_t *labels, int64_t count, float scale,
               ScorePlanes planes, int64_t n) {
  for (int64_t k = 0; k < count; ++k) {
    const float *x = logits[k];
    if (planes.sum) {
      for (int64_t i = 0; i < n; ++i) update_sum(row, x[i], scale, planes.moment, i);
    }
    if (labels[k] < 0) continue;
    const auto label = static_cast<float>(labels[k]);
    for (int64_t i = 0; i < n; ++i) update_best(row, x[i], label, planes.second, i);
  }
}

void max_row(const float *x, int64_t n, float *peak) {
  for (int64_t i = 0; i < n; ++i) peak[i] = std::max(peak[i], x[i]);
}

void exp_row(const float *x, const float *peak, float scale, int64_t n, float *sum, float *best) {
  for (int64_t i = 0; i < n; ++i) {
    const float e = std::exp(scale * (x[i] - peak[i]));
    sum[i] += e;
    if (best != nullptr) best[i] = std::max(best[i], e);
  }
}

constexpr MergeKernels kPortable{window_row, lerp_columns, lerp_rows, divide_row,
                                 score_row,  max_row,      exp_row};

}  // namespace

const MergeKernels &merge_kernels() {
#if defined(__x86_64__)
  if (cpu_isa() >= Isa::avx512) return merge_kernels_avx512();
  if (cpu_isa() >= Isa::avx2) return merge_kernels_avx2();
#endif
  return kPortable;
}

}  // namespace wm
