// The inner loops of attention in f32 with AVX2: a 6 x 16 register tile. Ragged ends run on one padded vector.
#include <immintrin.h>

#include "native/cpu/attention/attention.h"
#include "native/cpu/simd/vmath_avx2.h"

namespace wm {
namespace attention {

namespace {

constexpr int kRows = 6;

// The first n < 8 lanes of a vector.
inline __m256i tail_mask(int64_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
}

inline float reduce_add(__m256 x) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

inline float reduce_max(__m256 x) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

float row_max(const float *x, int64_t n) {
  __m256 best = set256(x[0]);
  for (int64_t j = 0; j < n; j += 8) {
    const __m256i lanes = tail_mask(n - j < 8 ? n - j : 8);
    const __m256 y = _mm256_maskload_ps(x + j, lanes);
    best = _mm256_max_ps(best, _mm256_blendv_ps(best, y, _mm256_castsi256_ps(lanes)));
  }
  return reduce_max(best);
}

float row_bias_max(float *x, int64_t n, float scale, const float *bias) {
  __m256 best = set256(-__builtin_inff());
  for (int64_t j = 0; j < n; j += 8) {
    const __m256i lanes = tail_mask(n - j < 8 ? n - j : 8);
    const __m256 plus = bias ? _mm256_maskload_ps(bias + j, lanes) : _mm256_setzero_ps();
    const __m256 y = _mm256_fmadd_ps(_mm256_maskload_ps(x + j, lanes), set256(scale), plus);
    _mm256_maskstore_ps(x + j, lanes, y);
    best = _mm256_max_ps(best, _mm256_blendv_ps(best, y, _mm256_castsi256_ps(lanes)));
  }
  return reduce_max(best);
}

float row_exp_sum(const float *x, int64_t n, float scale, float shift, float *p) {
  __m256 sum = _mm256_setzero_ps();
  for (int64_t j = 0; j < n; j += 8) {
    const __m256i lanes = tail_mask(n - j < 8 ? n - j : 8);
    const __m256 t = _mm256_fmsub_ps(_mm256_maskload_ps(x + j, lanes), set256(scale), set256(shift));
    const __m256 y = _mm256_and_ps(exp2_256(t), _mm256_castsi256_ps(lanes));
    _mm256_maskstore_ps(p + j, lanes, y);
    sum = _mm256_add_ps(sum, y);
  }
  return reduce_add(sum);
}

void row_probability(const float *x, int64_t n, float scale, float shift, float factor, bool accumulate, float *out) {
  for (int64_t j = 0; j < n; j += 8) {
    const __m256i lanes = tail_mask(n - j < 8 ? n - j : 8);
    const __m256 t = _mm256_fmsub_ps(_mm256_maskload_ps(x + j, lanes), set256(scale), set256(shift));
    const __m256 before = accumulate ? _mm256_maskload_ps(out + j, lanes) : _mm256_setzero_ps();
    _mm256_maskstore_ps(out + j, lanes, _mm256_fmadd_ps(exp2_256(t), set256(factor), before));
  }
}

void row_scale(float *x, int64_t n, float factor) {
  for (int64_t j = 0; j < n; j += 8) {
    const __m256i lanes = tail_mask(n - j < 8 ? n - j : 8);
    _mm256_maskstore_ps(x + j, lanes, _mm256_mul_ps(_mm256_maskload_ps(x + j, lanes), set256(factor)));
  }
}

float row_scale_dot(float *p, const float *dp, int64_t n, float factor) {
  __m256 sum = _mm256_setzero_ps();
  for (int64_t j = 0; j < n; j += 8) {
    const __m256i lanes = tail_mask(n - j < 8 ? n - j : 8);
    const __m256 y = _mm256_mul_ps(_mm256_maskload_ps(p + j, lanes), set256(factor));
    _mm256_maskstore_ps(p + j, lanes, y);
    sum = _mm256_fmadd_ps(y, _mm256_maskload_ps(dp + j, lanes), sum);
  }
  return reduce_add(sum);
}

void row_jacobian(const float *p, float *dp, int64_t n, float shift) {
  for (int64_t j = 0; j < n; j += 8) {
    const __m256i lanes = tail_mask(n - j < 8 ? n - j : 8);
    const __m256 y = _mm256_sub_ps(_mm256_maskload_ps(dp + j, lanes), set256(shift));
    _mm256_maskstore_ps(dp + j, lanes, _mm256_mul_ps(_mm256_maskload_ps(p + j, lanes), y));
  }
}

void grid_bias(const float *gy, const float *gx, int64_t h, int64_t w, float *out) {
  for (int64_t x = 0; x < w; x += 8) {
    const __m256i lanes = tail_mask(w - x < 8 ? w - x : 8);
    const __m256 column = _mm256_maskload_ps(gx + x, lanes);
    for (int64_t y = 0; y < h; ++y) _mm256_maskstore_ps(out + y * w + x, lanes, _mm256_mul_ps(set256(gy[y]), column));
  }
}

void block_bits(const uint8_t *bits, int64_t n, float *row) {
  const __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  for (int64_t j = 0; j < n; j += 8) {
    const __m256i set = _mm256_and_si256(_mm256_set1_epi32(bits[j >> 3]), each);
    const __m256i lanes = _mm256_and_si256(_mm256_cmpeq_epi32(set, each), tail_mask(n - j < 8 ? n - j : 8));
    _mm256_maskstore_ps(row + j, lanes, set256(-__builtin_inff()));
  }
}

void to_bf16_row(const float *src, int64_t n, bf16 *dst) {
  for (int64_t j = 0; j < n; ++j) dst[j] = to_bf16(src[j]);
}

void transpose(const float *src, int64_t lds, int64_t rows, int64_t cols, float *dst, int64_t ldd) {
  int64_t i = 0;
  for (; i + 4 <= rows; i += 4) {
    int64_t j = 0;
    for (; j + 4 <= cols; j += 4) {
      __m128 a = _mm_loadu_ps(src + i * lds + j), b = _mm_loadu_ps(src + (i + 1) * lds + j);
      __m128 c = _mm_loadu_ps(src + (i + 2) * lds + j), d = _mm_loadu_ps(src + (i + 3) * lds + j);
      _MM_TRANSPOSE4_PS(a, b, c, d);
      _mm_storeu_ps(dst + j * ldd + i, a);
      _mm_storeu_ps(dst + (j + 1) * ldd + i, b);
      _mm_storeu_ps(dst + (j + 2) * ldd + i, c);
      _mm_storeu_ps(dst + (j + 3) * ldd + i, d);
    }
    for (; j < cols; ++j) {
      for (int r = 0; r < 4; ++r) dst[j * ldd + i + r] = src[(i + r) * lds + j];
    }
  }
  for (; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) dst[j * ldd + i] = src[i * lds + j];
  }
}

template <int R, int V, bool kTransposed>
void tile(const float *a, int64_t lda, const float *b, int64_t k, float *c, int64_t ldc, bool accumulate) {
  __m256 sum[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) sum[r][v] = accumulate ? _mm256_loadu_ps(c + r * ldc + 8 * v) : _mm256_setzero_ps();
  }
  for (int64_t p = 0; p < k; ++p, b += 8 * V) {
    __m256 column[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) column[v] = _mm256_loadu_ps(b + 8 * v);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m256 x = _mm256_broadcast_ss(kTransposed ? a + p * lda + r : a + r * lda + p);
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sum[r][v] = _mm256_fmadd_ps(x, column[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) _mm256_storeu_ps(c + r * ldc + 8 * v, sum[r][v]);
  }
}

using Tile = void (*)(const float *, int64_t, const float *, int64_t, float *, int64_t, bool);

template <bool kTransposed>
constexpr Tile kTiles[kRows][2] = {
    {tile<1, 1, kTransposed>, tile<1, 2, kTransposed>}, {tile<2, 1, kTransposed>, tile<2, 2, kTransposed>},
    {tile<3, 1, kTransposed>, tile<3, 2, kTransposed>}, {tile<4, 1, kTransposed>, tile<4, 2, kTransposed>},
    {tile<5, 1, kTransposed>, tile<5, 2, kTransposed>}, {tile<6, 1, kTransposed>, tile<6, 2, kTransposed>},
};

void product(const Kernels<float, float>::Product &g) {
  for (int64_t j = 0; j < g.n; j += 16) {
    const int64_t width = g.n - j < 16 ? g.n - j : 16;
    const float *b = g.b + (g.col0 + j) * g.b_rows + g.k0 * width;
    for (int64_t i = 0; i < g.m; i += kRows) {
      const int64_t rows = g.m - i < kRows ? g.m - i : kRows;
      const Tile fn = (g.transposed ? kTiles<true> : kTiles<false>)[rows - 1][width / 8 - 1];
      fn(g.a + (g.transposed ? i : i * g.lda), g.lda, b, g.k, g.c + i * g.ldc + j, g.ldc, g.accumulate);
    }
  }
}

constexpr Kernels<float, float> kTable = {8, 16, kRows, product, row_max, row_bias_max, row_exp_sum, row_probability,
                                          row_scale, row_scale_dot, row_jacobian, grid_bias, block_bits, transpose,
                                          to_bf16_row};

}  // namespace

const Kernels<float, float> &avx2_kernels() { return kTable; }

}  // namespace attention
}  // namespace wm
