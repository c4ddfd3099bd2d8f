// Row loops shared by window_upsample, window_merge, score_update and class_probabilities, one table an
// instruction set. All are elementwise in the output column, so tiles and chunks of any size give the same
// bits.
#pragma once

#include <cstdint>

namespace wm {

// Bilinear columns: output column i = src[low[i]] + fraction[i] * (src[high[i]] - src[low[i]]). `low` never
// falls, and high is low + 1, or low where the source ends.
struct ColumnTaps {
  const int32_t *low;
  const int32_t *high;
  const float *fraction;
};

// Pointers to one row of each state plane (score_update.h). The pixels of a row are contiguous.
struct ScoreRow {
  float *best, *sum, *peak, *label, *second, *moment;
};

// Which planes are kept up to date besides best and label.
struct ScorePlanes {
  bool sum, second, moment;  // moment needs sum
};

// Source rows of lerp_columns and window_row's scratch must be readable this far behind their last value.
constexpr int64_t kRowPadding = 32;

struct MergeKernels {
  // dst[i] += columns of the row top + fy * (bottom - top); `width` values in top and bottom, scratch for
  // width + padding.
  void (*window_row)(const float *top, const float *bottom, float fy, int64_t width, ColumnTaps taps,
                     int64_t n, float *scratch, float *dst);
  // dst[i] = src at output column i
  void (*lerp_columns)(const float *src, ColumnTaps taps, int64_t n, float *dst);
  // dst[i] = top[i] + fy * (bottom[i] - top[i])
  void (*lerp_rows)(const float *top, const float *bottom, float fy, int64_t n, float *dst);
  // row[i] /= count[i]
  void (*divide_row)(float *row, const float *count, int64_t n);
  // Takes `count` queries, one after another, into the state of n pixels. label < 0: counts in the sum alone.
  void (*score_row)(ScoreRow row, const float *const *logits, const int32_t *labels, int64_t count,
                    float scale, ScorePlanes planes, int64_t n);
  // peak[i] = max(peak[i], x[i])
  void (*max_row)(const float *x, int64_t n, float *peak);
  // e = exp(scale * (x[i] - peak[i])); sum[i] += e; best[i] = max(best[i], e) unless best is null
  void (*exp_row)(const float *x, const float *peak, float scale, int64_t n, float *sum, float *best);
};

const MergeKernels &merge_kernels();
const MergeKernels &merge_kernels_avx2();
const MergeKernels &merge_kernels_avx512();

}  // namespace wm
