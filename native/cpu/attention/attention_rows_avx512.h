// The row loops of attention on 16 f32 lanes, shared by the AVX-512 files. Include it only from *_avx512*.cpp:
// everything is in an anonymous namespace. Ragged ends use masks, so no row needs padding.
#pragma once

#include <immintrin.h>

#include "native/cpu/attention/attention.h"
#include "native/cpu/simd/vmath_avx512.h"

namespace wm {
namespace attention {
namespace {

inline __mmask16 tail_mask(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }

// 2^x for x <= 0 (a softmax subtracts its maximum), 0 from -150 down. vmath's exp2_512 without its upper bound and its
// compare: 2^-200 is rounded to 0 by the scaling itself. NaN stays NaN: max returns its second operand then.
inline __m512 softmax_exp2(__m512 x) {
  x = _mm512_max_ps(set512(-200.0f), x);
  const __m512 n = round512(x);
  const __m512 r = _mm512_sub_ps(x, n);
  return _mm512_scalef_ps(_mm512_fmadd_ps(polynomial512(vmath::kExp2, r), r, set512(1.0f)), n);
}

float row_max(const float *x, int64_t n) {
  __m512 best = set512(x[0]);
  int64_t j = 0;
  for (; j + 16 <= n; j += 16) best = _mm512_max_ps(best, _mm512_loadu_ps(x + j));
  if (j < n) best = _mm512_mask_max_ps(best, tail_mask(n - j), best, _mm512_maskz_loadu_ps(tail_mask(n - j), x + j));
  return _mm512_reduce_max_ps(best);
}

float row_bias_max(float *x, int64_t n, float scale, const float *bias) {
  const __m512 by = set512(scale);
  __m512 best = set512(-__builtin_inff());
  for (int64_t j = 0; j < n; j += 16) {
    const __mmask16 lanes = n - j < 16 ? tail_mask(n - j) : static_cast<__mmask16>(0xffff);
    const __m512 plus = bias ? _mm512_maskz_loadu_ps(lanes, bias + j) : _mm512_setzero_ps();
    const __m512 y = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(lanes, x + j), by, plus);
    _mm512_mask_storeu_ps(x + j, lanes, y);
    best = _mm512_mask_max_ps(best, lanes, best, y);
  }
  return _mm512_reduce_max_ps(best);
}

void row_probability(const float *x, int64_t n, float scale, float shift, float factor, bool accumulate, float *out) {
  const __m512 by = set512(scale), minus = set512(shift), times = set512(factor);
  for (int64_t j = 0; j < n; j += 16) {
    const __mmask16 lanes = n - j < 16 ? tail_mask(n - j) : static_cast<__mmask16>(0xffff);
    __m512 p = softmax_exp2(_mm512_fmsub_ps(_mm512_maskz_loadu_ps(lanes, x + j), by, minus));
    const __m512 before = accumulate ? _mm512_maskz_loadu_ps(lanes, out + j) : _mm512_setzero_ps();
    p = _mm512_fmadd_ps(p, times, before);
    _mm512_mask_storeu_ps(out + j, lanes, p);
  }
}

void row_scale(float *x, int64_t n, float factor) {
  const __m512 by = set512(factor);
  for (int64_t j = 0; j < n; j += 16) {
    const __mmask16 lanes = n - j < 16 ? tail_mask(n - j) : static_cast<__mmask16>(0xffff);
    _mm512_mask_storeu_ps(x + j, lanes, _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x + j), by));
  }
}

float row_scale_dot(float *p, const float *dp, int64_t n, float factor) {
  const __m512 by = set512(factor);
  __m512 sum = _mm512_setzero_ps();
  for (int64_t j = 0; j < n; j += 16) {
    const __mmask16 lanes = n - j < 16 ? tail_mask(n - j) : static_cast<__mmask16>(0xffff);
    const __m512 y = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, p + j), by);
    _mm512_mask_storeu_ps(p + j, lanes, y);
    sum = _mm512_fmadd_ps(y, _mm512_maskz_loadu_ps(lanes, dp + j), sum);
  }
  return _mm512_reduce_add_ps(sum);
}

void row_jacobian(const float *p, float *dp, int64_t n, float shift) {
  const __m512 minus = set512(shift);
  for (int64_t j = 0; j < n; j += 16) {
    const __mmask16 lanes = n - j < 16 ? tail_mask(n - j) : static_cast<__mmask16>(0xffff);
    const __m512 y = _mm512_sub_ps(_mm512_maskz_loadu_ps(lanes, dp + j), minus);
    _mm512_mask_storeu_ps(dp + j, lanes, _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, p + j), y));
  }
}

void grid_bias(const float *gy, const float *gx, int64_t h, int64_t w, float *out) {
  for (int64_t x = 0; x < w; x += 16) {
    const __mmask16 lanes = w - x < 16 ? tail_mask(w - x) : static_cast<__mmask16>(0xffff);
    const __m512 column = _mm512_maskz_loadu_ps(lanes, gx + x);
    for (int64_t y = 0; y < h; ++y) _mm512_mask_storeu_ps(out + y * w + x, lanes, _mm512_mul_ps(set512(gy[y]), column));
  }
}

void block_bits(const uint8_t *bits, int64_t n, float *row) {
  const __m512 blocked = set512(-__builtin_inff());
  for (int64_t j = 0; j < n; j += 16) {
    const int64_t left = n - j;
    unsigned word = bits[j >> 3];
    if (left > 8) word |= static_cast<unsigned>(bits[(j >> 3) + 1]) << 8;
    if (left < 16) word &= tail_mask(left);
    _mm512_mask_storeu_ps(row + j, static_cast<__mmask16>(word), blocked);
  }
}

// Round to nearest even; a NaN keeps its upper half and becomes quiet.
inline __m256i round_to_bf16(__m512 x) {
  const __m512i u = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_or_epi32(rounded, nan, u, _mm512_set1_epi32(0x400000)), 16));
}

void to_bf16_row(const float *src, int64_t n, bf16 *dst) {
  for (int64_t j = 0; j < n; j += 16) {
    const __mmask16 lanes = n - j < 16 ? tail_mask(n - j) : static_cast<__mmask16>(0xffff);
    _mm256_mask_storeu_epi16(dst + j, lanes, round_to_bf16(_mm512_maskz_loadu_ps(lanes, src + j)));
  }
}

// 16 x 16 words: rows in, columns out.
inline void transpose_block(__m512i r[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  // Within each 128-bit lane: r[4i + c] holds column c of rows 4i .. 4i+3.
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int c = 0; c < 4; ++c) {
    const __m512i low01 = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88), high01 = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xdd);
    const __m512i low23 = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88);
    const __m512i high23 = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xdd);
    t[c] = _mm512_shuffle_i32x4(low01, low23, 0x88);
    t[8 + c] = _mm512_shuffle_i32x4(low01, low23, 0xdd);
    t[4 + c] = _mm512_shuffle_i32x4(high01, high23, 0x88);
    t[12 + c] = _mm512_shuffle_i32x4(high01, high23, 0xdd);
  }
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}

void transpose(const float *src, int64_t lds, int64_t rows, int64_t cols, float *dst, int64_t ldd) {
  for (int64_t i = 0; i < rows; i += 16) {
    const int64_t height = rows - i < 16 ? rows - i : 16;
    const __mmask16 down = height < 16 ? tail_mask(height) : static_cast<__mmask16>(0xffff);
    for (int64_t j = 0; j < cols; j += 16) {
      const int64_t width = cols - j < 16 ? cols - j : 16;
      const __mmask16 across = width < 16 ? tail_mask(width) : static_cast<__mmask16>(0xffff);
      __m512i block[16];
#pragma GCC unroll 16
      for (int r = 0; r < 16; ++r) {
        block[r] = r < height ? _mm512_maskz_loadu_epi32(across, src + (i + r) * lds + j) : _mm512_setzero_si512();
      }
      transpose_block(block);
#pragma GCC unroll 16
      for (int c = 0; c < 16; ++c) {
        if (c < width) _mm512_mask_storeu_epi32(dst + (j + c) * ldd + i, down, block[c]);
      }
    }
  }
}

}  // namespace
}  // namespace attention
}  // namespace wm
