// What self_attention needs of an instruction set: products of short matrices in pairs of bf16, and rows of a softmax.
//
// A matrix of pairs is [pairs][width] of 32 bits, two bf16 that are neighbours along the summed axis; `width` is a multiple
// of 16 and columns beyond the matrix are zero.
#pragma once

#include <cstdint>

#include "native/core/half.h"

namespace wm {
namespace attention {

struct ShortKernels {
  // out[p][r] = (src[r][2 p], src[r][2 p + 1]) for rows r < rows (zero up to width) and pairs p < pairs, a multiple of 16.
  void (*transpose_pairs)(const bf16 *src, int64_t stride, int64_t rows, int64_t pairs, int64_t width, uint32_t *out);
  // c[r][0 .. width) = sum over p of a(r, p) b[p][0 .. width), the pair a(r, p) lying at a + r * row_step + p * pair_step
  // (elements of bf16).
  struct Product {
    const bf16 *a;
    int64_t row_step, pair_step;
    const uint32_t *b;
    int64_t rows, pairs, width;
    float *c;
  };
  void (*product)(const Product &args);
  // Rows [rows, width] of products to probabilities of row r over its first visible[r] columns, the rest 0: in place, and
  // rounded to `narrow`.
  void (*softmax)(float *rows, const int32_t *visible, int64_t count, int64_t width, float scale, bf16 *narrow);
  // scale * p (dp - sum of p dp) of each row, rounded to `narrow`.
  void (*jacobian)(const float *p, const float *dp, int64_t count, int64_t width, float scale, bf16 *narrow);
  // Rows of f32, `columns` of them in each of `width`, to rows of bf16.
  void (*narrow_rows)(const float *src, int64_t rows, int64_t columns, int64_t width, bf16 *out, int64_t stride);
};

const ShortKernels &short_kernels_avx512bf16();

}  // namespace attention
}  // namespace wm
