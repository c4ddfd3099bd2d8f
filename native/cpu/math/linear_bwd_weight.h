// The parts of linear_bwd_weight that need an instruction set: rows paired up and multiplied by the bf16 dot product.
//
// A band of rows is stored as pairs, [rows / 2][columns][2]: column c of the rows 2 i and 2 i + 1 stand side by side, the
// second of an odd last row is zero. Columns are padded to whole sixteens (zero); `width` is the step from pair to pair.
#pragma once

#include <cstdint>

#include "native/core/half.h"

namespace wm {

struct WeightGradKernels {
  // Rows of bf16, `stride` elements apart, to pairs.
  void (*pair_rows)(const bf16 *src, int64_t stride, int64_t rows, int64_t columns, int64_t width, uint32_t *pairs);
  // sums[a][b] += sum over pairs of left[., a] right[., b], a < a_count, b < b_count (padded to sixteens in memory).
  void (*multiply)(const uint32_t *left, int64_t left_width, int64_t a_count, const uint32_t *right, int64_t right_width,
                   int64_t b_count, int64_t pairs, float *sums, int64_t stride);
  // sums[c] += sum over pairs of both halves of column c; written in whole sixteens.
  void (*add_columns)(const uint32_t *pairs, int64_t width, int64_t columns, int64_t count, float *sums);
};

const WeightGradKernels &weight_grad_kernels_avx512bf16();

}  // namespace wm
