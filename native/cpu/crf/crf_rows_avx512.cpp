// AVX-512 row kernels of the dense CRF: a row is up to four zmm and one ymm or xmm for the rest.
#if defined(__x86_64__)

// GCC 12 takes the undefined upper halves inside its own cast and extract intrinsics for uninitialised variables.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#include <immintrin.h>

#include "native/cpu/crf/crf_rows.h"
#include "native/cpu/simd/vmath_avx512.h"

namespace wm {

namespace {

template <int W>
struct Row {
  static constexpr int kFull = W / 16, kRest = W % 16;
  __m512 z[kFull > 0 ? kFull : 1];
  __m256 y;
  __m128 x;

  void load(const float *p) {
    for (int i = 0; i < kFull; ++i) z[i] = _mm512_loadu_ps(p + 16 * i);
    if constexpr (kRest == 8) y = _mm256_loadu_ps(p + 16 * kFull);
    if constexpr (kRest == 4) x = _mm_loadu_ps(p);
  }
  void store(float *p) const {
    for (int i = 0; i < kFull; ++i) _mm512_storeu_ps(p + 16 * i, z[i]);
    if constexpr (kRest == 8) _mm256_storeu_ps(p + 16 * kFull, y);
    if constexpr (kRest == 4) _mm_storeu_ps(p, x);
  }
  void add(const float *p) {
    for (int i = 0; i < kFull; ++i) z[i] = _mm512_add_ps(z[i], _mm512_loadu_ps(p + 16 * i));
    if constexpr (kRest == 8) y = _mm256_add_ps(y, _mm256_loadu_ps(p + 16 * kFull));
    if constexpr (kRest == 4) x = _mm_add_ps(x, _mm_loadu_ps(p));
  }
  void add_scaled(float w, const float *p) {
    const __m512 factor = _mm512_set1_ps(w);
    for (int i = 0; i < kFull; ++i) z[i] = _mm512_fmadd_ps(factor, _mm512_loadu_ps(p + 16 * i), z[i]);
    if constexpr (kRest == 8) y = _mm256_fmadd_ps(_mm512_castps512_ps256(factor), _mm256_loadu_ps(p + 16 * kFull), y);
    if constexpr (kRest == 4) x = _mm_fmadd_ps(_mm_set1_ps(w), _mm_loadu_ps(p), x);
  }
  void add_scaled_row(float w, const Row &row) {
    const __m512 factor = _mm512_set1_ps(w);
    for (int i = 0; i < kFull; ++i) z[i] = _mm512_fmadd_ps(factor, row.z[i], z[i]);
    if constexpr (kRest == 8) y = _mm256_fmadd_ps(_mm512_castps512_ps256(factor), row.y, y);
    if constexpr (kRest == 4) x = _mm_fmadd_ps(_mm_set1_ps(w), row.x, x);
  }
  void scale(float w) {
    for (int i = 0; i < kFull; ++i) z[i] = _mm512_mul_ps(z[i], _mm512_set1_ps(w));
    if constexpr (kRest == 8) y = _mm256_mul_ps(y, _mm256_set1_ps(w));
    if constexpr (kRest == 4) x = _mm_mul_ps(x, _mm_set1_ps(w));
  }
  void scale_by(const Row &row) {
    for (int i = 0; i < kFull; ++i) z[i] = _mm512_mul_ps(z[i], row.z[i]);
    if constexpr (kRest == 8) y = _mm256_mul_ps(y, row.y);
    if constexpr (kRest == 4) x = _mm_mul_ps(x, row.x);
  }
  void subtract_exp(float m) {
    for (int i = 0; i < kFull; ++i) z[i] = exp512(_mm512_sub_ps(z[i], _mm512_set1_ps(m)));
    if constexpr (kRest == 8) {
      y = _mm512_castps512_ps256(exp512(_mm512_zextps256_ps512(_mm256_sub_ps(y, _mm256_set1_ps(m)))));
    }
    if constexpr (kRest == 4) {
      x = _mm512_castps512_ps128(exp512(_mm512_zextps128_ps512(_mm_sub_ps(x, _mm_set1_ps(m)))));
    }
  }
  float max() const {
    __m128 m = x;
    if constexpr (W >= 8) {
      __m256 half = y;
      if constexpr (kFull > 0) {
        __m512 all = z[0];
        for (int i = 1; i < kFull; ++i) all = _mm512_max_ps(all, z[i]);
        half = _mm256_max_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
        if constexpr (kRest == 8) half = _mm256_max_ps(half, y);
      }
      m = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    }
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }
  float sum() const {
    __m128 s = x;
    if constexpr (W >= 8) {
      __m256 half = y;
      if constexpr (kFull > 0) {
        __m512 all = z[0];
        for (int i = 1; i < kFull; ++i) all = _mm512_add_ps(all, z[i]);
        half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
        if constexpr (kRest == 8) half = _mm256_add_ps(half, y);
      }
      s = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    }
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
};

#include "native/cpu/crf/crf_rows_impl.h"

}  // namespace

const CrfRowKernels kCrfRowsAvx512 = {slice, softmax, splat, reduce, blur};

}  // namespace wm

#endif
