// The inner loops of attention in f32 with AVX-512: a 6 x 64 register tile (24 sums, 4 columns of B, 1 element of A).
#include "native/cpu/attention/attention_rows_avx512.h"

namespace wm {
namespace attention {

namespace {

constexpr int kRows = 6;

float row_exp_sum(const float *x, int64_t n, float scale, float shift, float *p) {
  const __m512 by = set512(scale), minus = set512(shift);
  __m512 sum = _mm512_setzero_ps();
  int64_t j = 0;
  for (; j + 16 <= n; j += 16) {
    const __m512 y = softmax_exp2(_mm512_fmsub_ps(_mm512_loadu_ps(x + j), by, minus));
    _mm512_storeu_ps(p + j, y);
    sum = _mm512_add_ps(sum, y);
  }
  if (j < n) {
    const __mmask16 lanes = tail_mask(n - j);
    const __m512 t = _mm512_fmsub_ps(_mm512_maskz_loadu_ps(lanes, x + j), by, minus);
    const __m512 y = _mm512_maskz_mov_ps(lanes, softmax_exp2(t));
    _mm512_mask_storeu_ps(p + j, lanes, y);
    sum = _mm512_add_ps(sum, y);
  }
  return _mm512_reduce_add_ps(sum);
}

// R rows x V vectors of C. `b` is the panel's first row in use; its rows are V vectors wide.
template <int R, int V, bool kTransposed>
void tile(const float *a, int64_t lda, const float *b, int64_t k, float *c, int64_t ldc, bool accumulate) {
  __m512 sum[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[r][v] = accumulate ? _mm512_loadu_ps(c + r * ldc + 16 * v) : _mm512_setzero_ps();
  }
  for (int64_t p = 0; p < k; ++p, b += 16 * V) {
    __m512 column[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) column[v] = _mm512_loadu_ps(b + 16 * v);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m512 x = set512(kTransposed ? a[p * lda + r] : a[r * lda + p]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] = _mm512_fmadd_ps(x, column[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) _mm512_storeu_ps(c + r * ldc + 16 * v, sum[r][v]);
  }
}

using Tile = void (*)(const float *, int64_t, const float *, int64_t, float *, int64_t, bool);

template <bool kTransposed>
constexpr Tile kTiles[kRows][4] = {
    {tile<1, 1, kTransposed>, tile<1, 2, kTransposed>, tile<1, 3, kTransposed>, tile<1, 4, kTransposed>},
    {tile<2, 1, kTransposed>, tile<2, 2, kTransposed>, tile<2, 3, kTransposed>, tile<2, 4, kTransposed>},
    {tile<3, 1, kTransposed>, tile<3, 2, kTransposed>, tile<3, 3, kTransposed>, tile<3, 4, kTransposed>},
    {tile<4, 1, kTransposed>, tile<4, 2, kTransposed>, tile<4, 3, kTransposed>, tile<4, 4, kTransposed>},
    {tile<5, 1, kTransposed>, tile<5, 2, kTransposed>, tile<5, 3, kTransposed>, tile<5, 4, kTransposed>},
    {tile<6, 1, kTransposed>, tile<6, 2, kTransposed>, tile<6, 3, kTransposed>, tile<6, 4, kTransposed>},
};

void product(const Kernels<float, float>::Product &g) {
  for (int64_t j = 0; j < g.n; j += 64) {
    const int64_t width = g.n - j < 64 ? g.n - j : 64;
    const float *b = g.b + (g.col0 + j) * g.b_rows + g.k0 * width;
    for (int64_t i = 0; i < g.m; i += kRows) {
      const int64_t rows = g.m - i < kRows ? g.m - i : kRows;
      const Tile fn = (g.transposed ? kTiles<true> : kTiles<false>)[rows - 1][width / 16 - 1];
      fn(g.a + (g.transposed ? i : i * g.lda), g.lda, b, g.k, g.c + i * g.ldc + j, g.ldc, g.accumulate);
    }
  }
}

constexpr Kernels<float, float> kTable = {16, 64, kRows, product, row_max, row_bias_max, row_exp_sum, row_probability,
                                          row_scale, row_scale_dot, row_jacobian, grid_bias, block_bits, transpose,
                                          to_bf16_row};

}  // namespace

const Kernels<float, float> &avx512_kernels() { return kTable; }

}  // namespace attention
}  // namespace wm
