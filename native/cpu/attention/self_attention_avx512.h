// The loops of self_attention.h for the AVX-512 files: register tiles of 8 x 48 or 6 x 64, softmax rows in whole vectors.
// `Words` has multiply_add(sum, a, b) of words and store(to, index, sixteen f32) to elements.
#pragma once

#include <immintrin.h>

#include "native/cpu/attention/self_attention.h"
#include "native/cpu/simd/vmath_avx512.h"

namespace wm {
namespace attention {
namespace {

inline __mmask16 first16(int64_t n) {
  return n >= 16 ? static_cast<__mmask16>(0xffff) : n <= 0 ? __mmask16{0} : static_cast<__mmask16>((1u << n) - 1u);
}

// Sixteen rows of sixteen words, transposed in place: unpack words, then pairs of words, then quarters.
inline void transpose16(__m512i (&x)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    x[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    x[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    x[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    x[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    x[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    x[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    x[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    x[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

void transpose_words(const uint32_t *src, int64_t stride, int64_t rows, int64_t words, int64_t width, uint32_t *out) {
  for (int64_t r = 0; r < width; r += 16) {
    for (int64_t p = 0; p < words; p += 16) {
      __m512i x[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        x[i] = r + i < rows ? _mm512_loadu_si512(src + (r + i) * stride + p) : _mm512_setzero_si512();
      }
      transpose16(x);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) _mm512_storeu_si512(out + (p + i) * width + r, x[i]);
    }
  }
}

template <class Words, int kRows, int kVectors>
void tile(const uint32_t *a, const ShortKernels::Product &o, const uint32_t *b, float *c) {
  __m512 sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_setzero_ps();
  }
  for (int64_t p = 0; p < o.words; ++p) {
    __m512i columns[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) columns[v] = _mm512_loadu_si512(b + 16 * v);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512i row = _mm512_set1_epi32(static_cast<int>(a[r * o.row_step]));
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[r][v] = Words::multiply_add(sum[r][v], row, columns[v]);
    }
    a += o.word_step;
    b += o.width;
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(c + r * o.width + 16 * v, sum[r][v]);
  }
}

// All rows of one strip of kVectors vectors, kMost at a time while that many are left.
template <class Words, int kMost, int kVectors>
void strip(const ShortKernels::Product &o, const uint32_t *b, float *c) {
  int64_t r = 0;
  for (; r + kMost <= o.rows; r += kMost) tile<Words, kMost, kVectors>(o.a + r * o.row_step, o, b, c + r * o.width);
  if (o.rows - r >= 4) {
    tile<Words, 4, kVectors>(o.a + r * o.row_step, o, b, c + r * o.width);
    r += 4;
  }
  if (o.rows - r >= 2) {
    tile<Words, 2, kVectors>(o.a + r * o.row_step, o, b, c + r * o.width);
    r += 2;
  }
  for (; r < o.rows; ++r) tile<Words, 1, kVectors>(o.a + r * o.row_step, o, b, c + r * o.width);
}

template <class Words>
void product(const ShortKernels::Product &o) {
  int64_t c = 0;
  while (c < o.width) {
    const int64_t vectors = (o.width - c) / 16;
    if (vectors >= 4 && vectors != 5 && vectors != 6) {
      strip<Words, 6, 4>(o, o.b + c, o.c + c);
      c += 64;
    } else if (vectors >= 3) {
      strip<Words, 8, 3>(o, o.b + c, o.c + c);
      c += 48;
    } else if (vectors == 2) {
      strip<Words, 8, 2>(o, o.b + c, o.c + c);
      c += 32;
    } else {
      strip<Words, 8, 1>(o, o.b + c, o.c + c);
      c += 16;
    }
  }
}

template <class Words>
void softmax(float *rows, const int32_t *visible, int64_t count, int64_t width, float scale, void *to) {
  const __m512 factor = _mm512_set1_ps(scale * 1.44269504088896341f);
  const __m512 lowest = _mm512_set1_ps(-3.402823466e38f);
  for (int64_t r = 0; r < count; ++r) {
    float *x = rows + r * width;
    const int64_t n = visible[r];
    __m512 peak = lowest;
    for (int64_t c = 0; c < n; c += 16) {
      const __mmask16 mask = first16(n - c);
      const __m512 v = _mm512_mul_ps(_mm512_loadu_ps(x + c), factor);
      _mm512_storeu_ps(x + c, v);
      peak = _mm512_mask_max_ps(peak, mask, peak, v);
    }
    const __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(peak));
    __m512 total = _mm512_setzero_ps();
    for (int64_t c = 0; c < n; c += 16) {
      const __m512 e = _mm512_maskz_mov_ps(first16(n - c), exp2_512(_mm512_sub_ps(_mm512_loadu_ps(x + c), top)));
      _mm512_storeu_ps(x + c, e);
      total = _mm512_add_ps(total, e);
    }
    const float mass = n > 0 ? _mm512_reduce_add_ps(total) : 1.0f;
    const __m512 inverse = _mm512_set1_ps(1.0f / mass);
    for (int64_t c = 0; c < width; c += 16) {
      const __m512 p = c < n ? _mm512_mul_ps(_mm512_loadu_ps(x + c), inverse) : _mm512_setzero_ps();
      _mm512_storeu_ps(x + c, p);
      if (to != nullptr) Words::store(to, r * width + c, p);
    }
  }
}

template <class Words>
void jacobian(const float *p, const float *dp, int64_t count, int64_t width, float scale, void *to) {
  const __m512 factor = _mm512_set1_ps(scale);
  for (int64_t r = 0; r < count; ++r) {
    const float *row = p + r * width, *up = dp + r * width;
    __m512 total = _mm512_setzero_ps();
    for (int64_t c = 0; c < width; c += 16) total = _mm512_fmadd_ps(_mm512_loadu_ps(row + c), _mm512_loadu_ps(up + c), total);
    const __m512 shift = _mm512_set1_ps(_mm512_reduce_add_ps(total));
    for (int64_t c = 0; c < width; c += 16) {
      const __m512 inner = _mm512_sub_ps(_mm512_loadu_ps(up + c), shift);
      const __m512 ds = _mm512_mul_ps(_mm512_mul_ps(_mm512_loadu_ps(row + c), inner), factor);
      Words::store(to, r * width + c, ds);
    }
  }
}

template <class Words>
void store_rows(const float *src, int64_t rows, int64_t columns, int64_t width, void *out, int64_t stride) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; c += 16) Words::store(out, r * stride + c, _mm512_loadu_ps(src + r * width + c));
  }
}

}  // namespace
}  // namespace attention
}  // namespace wm
