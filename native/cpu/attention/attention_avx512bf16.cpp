// The inner loops of attention with bf16 operands (AVX512-BF16): the same 6 x 64 register tile as in f32, two elements
// of the inner dimension a step. Scores, maxima and sums stay f32; P is rounded to bf16 for its product with V.
#include "native/cpu/attention/attention_rows_avx512.h"

namespace wm {
namespace attention {

namespace {

constexpr int kRows = 6;

float row_exp_sum(const float *x, int64_t n, float scale, float shift, bf16 *p) {
  const __m512 by = set512(scale), minus = set512(shift);
  __m512 sum = _mm512_setzero_ps();
  int64_t j = 0;
  for (; j + 32 <= n; j += 32) {
    const __m512 low = softmax_exp2(_mm512_fmsub_ps(_mm512_loadu_ps(x + j), by, minus));
    const __m512 high = softmax_exp2(_mm512_fmsub_ps(_mm512_loadu_ps(x + j + 16), by, minus));
    _mm512_storeu_si512(p + j, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)));
    sum = _mm512_add_ps(_mm512_add_ps(sum, low), high);
  }
  for (; j < n; j += 16) {
    const __mmask16 lanes = n - j < 16 ? tail_mask(n - j) : static_cast<__mmask16>(0xffff);
    const __m512 t = _mm512_fmsub_ps(_mm512_maskz_loadu_ps(lanes, x + j), by, minus);
    const __m512 y = _mm512_maskz_mov_ps(lanes, softmax_exp2(t));
    _mm256_mask_storeu_epi16(p + j, lanes, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(y)));
    sum = _mm512_add_ps(sum, y);
  }
  return _mm512_reduce_add_ps(sum);
}

// R rows x V vectors of C over k / 2 pairs.
template <int R, int V>
void tile(const bf16 *a, int64_t lda, const bf16 *b, int64_t k, float *c, int64_t ldc, bool accumulate) {
  __m512 sum[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[r][v] = accumulate ? _mm512_loadu_ps(c + r * ldc + 16 * v) : _mm512_setzero_ps();
  }
  for (int64_t p = 0; p < k; p += 2, b += 32 * V) {
    __m512bh column[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) column[v] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(b + 32 * v));
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      int pair;
      __builtin_memcpy(&pair, a + r * lda + p, 4);
      const __m512bh x = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], x, column[v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) _mm512_storeu_ps(c + r * ldc + 16 * v, sum[r][v]);
  }
}

using Tile = void (*)(const bf16 *, int64_t, const bf16 *, int64_t, float *, int64_t, bool);

constexpr Tile kTiles[kRows][4] = {
    {tile<1, 1>, tile<1, 2>, tile<1, 3>, tile<1, 4>}, {tile<2, 1>, tile<2, 2>, tile<2, 3>, tile<2, 4>},
    {tile<3, 1>, tile<3, 2>, tile<3, 3>, tile<3, 4>}, {tile<4, 1>, tile<4, 2>, tile<4, 3>, tile<4, 4>},
    {tile<5, 1>, tile<5, 2>, tile<5, 3>, tile<5, 4>}, {tile<6, 1>, tile<6, 2>, tile<6, 3>, tile<6, 4>},
};

void product(const Kernels<float, bf16>::Product &g) {
  for (int64_t j = 0; j < g.n; j += 64) {
    const int64_t width = g.n - j < 64 ? g.n - j : 64;
    const bf16 *b = g.b + (g.col0 + j) * g.b_rows + g.k0 * width;
    for (int64_t i = 0; i < g.m; i += kRows) {
      const int64_t rows = g.m - i < kRows ? g.m - i : kRows;
      kTiles[rows - 1][width / 16 - 1](g.a + i * g.lda, g.lda, b, g.k, g.c + i * g.ldc + j, g.ldc, g.accumulate);
    }
  }
}

constexpr Kernels<float, bf16> kTable = {16, 64, kRows, product, row_max, row_bias_max, row_exp_sum, row_probability,
                                         row_scale, row_scale_dot, row_jacobian, grid_bias, block_bits, transpose,
                                         to_bf16_row};

}  // namespace

const Kernels<float, bf16> &avx512bf16_kernels() { return kTable; }

}  // namespace attention
}  // namespace wm
