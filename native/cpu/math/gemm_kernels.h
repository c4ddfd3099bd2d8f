// The instruction-set specific parts of the GEMM family (kernels.md section 1), one table a tier.
//
// Operands arrive as panels: `width` rows of A, or `width` columns of B, stored k-major so that a
// micro-kernel reads forward alone. f32 panel: [k][width]. Pair panel (bf16): [ceil(k/2)][width][2], the
// second half of an odd last pair being zero. Rows beyond the matrix are zero. Every output is one chain of
// multiply-adds over ascending k, whatever tile it falls in.
#pragma once

#include <cstdint>

#include "native/core/half.h"

namespace wm {

enum class Activation : int { none = 0, quick_gelu = 1, gelu = 2, relu = 3, gelu_tanh = 4 };

// What becomes of a finished tile: act(gate[r][c] (scale * column_scale[c] * sum + bias[c])) + residual[r][c].
struct TileOutput {
  int rows, cols;
  float scale;
  Activation activation;
  const float *partial;  // sum of the earlier K blocks, or null
  int64_t partial_stride;
  const float *column_scale;  // null: 1
  const float *bias;          // null: 0
  const void *residual;       // null: none
  int64_t residual_stride;
  void *out;
  int64_t out_stride;
  void *slope;  // where the activation's slope goes, laid out as out in its dtype; null: nowhere
  const void *gate;  // as out; null: 1
  bool residual_bf16, out_bf16, gate_bf16;
};

// Memory that the next tiles will read: a micro-kernel fetches `step` bytes of it into the second cache level at
// each of its steps, spread out so that fetching never holds up the arithmetic.
struct Ahead {
  const char *from;
  int64_t step;
};

constexpr int kMaxTileRows = 8;
constexpr int kMaxTileCols = 48;

struct GemmKernels {
  int tile_rows;  // width of an A panel
  int tile_cols;  // width of a B panel
  // sums[r * stride + c] = A panel x B panel over k (tile_f32) or pairs (tile_pairs) steps; columns are
  // written in whole sixteens. tile_pairs is null where the tier has no bf16 dot product: panels are then
  // expanded to f32 first.
  void (*tile_f32)(int rows, int cols, int64_t k, const float *a, const float *b, float *sums,
                   int64_t stride, Ahead ahead);
  void (*tile_pairs)(int rows, int cols, int64_t pairs, const uint32_t *a, const uint32_t *b, float *sums,
                     int64_t stride, Ahead ahead);
  // The same with A read in place: row r at a + r * a_stride, k consecutive (and even, of bf16). Null: pack first.
  void (*tile_f32_in_place)(int rows, int cols, int64_t k, const float *a, int64_t a_stride, const float *b, float *sums,
                            int64_t stride, Ahead ahead);
  void (*tile_pairs_in_place)(int rows, int cols, int64_t pairs, const bf16 *a, int64_t a_stride, const uint32_t *b,
                              float *sums, int64_t stride, Ahead ahead);
  // partial += tile, in whole sixteens of columns; the tile's rows are tile_cols apart, here and in finish.
  void (*accumulate)(const float *tile, int rows, int cols, float *partial, int64_t partial_stride);
  void (*finish)(const float *tile, const TileOutput &output);
  // Whether finish writes slopes; where it does not, it writes the values they are taken at.
  bool finish_slopes;
  // Panels from rows with consecutive k; source row r starts at src + r * stride. `width` is a multiple of 8
  // or below 8; up to 8 - width elements beyond the panel are overwritten. Null: use the portable loops.
  void (*pack_f32_from_f32)(const float *src, int64_t stride, int rows, int width, int64_t k, float *panel);
  void (*pack_f32_from_bf16)(const bf16 *src, int64_t stride, int rows, int width, int64_t k, float *panel);
  void (*pack_pairs_from_f32)(const float *src, int64_t stride, int rows, int width, int64_t k,
                              uint32_t *panel);
  void (*pack_pairs_from_bf16)(const bf16 *src, int64_t stride, int rows, int width, int64_t k,
                               uint32_t *panel);
};

const GemmKernels &gemm_kernels_scalar();
const GemmKernels &gemm_kernels_avx2();
const GemmKernels &gemm_kernels_avx512();
const GemmKernels &gemm_kernels_avx512bf16();

// The table of the tier in use.
const GemmKernels &gemm_kernels();

}  // namespace wm
