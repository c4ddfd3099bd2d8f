// What self_attention needs of an instruction set: products of short matrices, and rows of a softmax.
//
// Operands are 32-bit words: one f32, or two bf16 that are neighbours along the summed axis. A matrix of words is
// [words][width] with the summed axis first; `width` is a multiple of 16 and columns beyond the matrix are zero.
#pragma once

#include <cstdint>

namespace wm {
namespace attention {

struct ShortKernels {
  // out[p][r] = word p of row r, for rows r < rows (zero up to width) and p < words, a multiple of 16.
  void (*transpose_words)(const uint32_t *src, int64_t stride, int64_t rows, int64_t words, int64_t width, uint32_t *out);
  // c[r][0 .. width) = sum over p of a(r, p) b[p][0 .. width), the word a(r, p) lying at a + r * row_step + p * word_step.
  struct Product {
    const uint32_t *a;
    int64_t row_step, word_step;
    const uint32_t *b;
    int64_t rows, words, width;
    float *c;
  };
  void (*product)(const Product &args);
  // Rows [rows, width] of products to probabilities of row r over its first visible[r] columns, the rest 0: in place, and as
  // elements in `narrow` where that is not null.
  void (*softmax)(float *rows, const int32_t *visible, int64_t count, int64_t width, float scale, void *narrow);
  // scale * p (dp - sum of p dp) of each row as elements; `out` may be dp.
  void (*jacobian)(const float *p, const float *dp, int64_t count, int64_t width, float scale, void *out);
  // Rows of f32, `columns` of them in each of `width`, to rows of elements.
  void (*store_rows)(const float *src, int64_t rows, int64_t columns, int64_t width, void *out, int64_t stride);
  // Rows of elements to [words][columns]: pairs of rows side by side for bf16, the rows themselves for f32.
  void (*rows_to_words)(const void *src, int64_t stride, int64_t rows, int64_t columns, uint32_t *out);
};

const ShortKernels &short_kernels_avx512();
const ShortKernels &short_kernels_avx512bf16();

}  // namespace attention
}  // namespace wm
