// AVX2 row kernels of the dense CRF: a row is up to eight ymm, or one xmm for at most four classes.
#if defined(__x86_64__)

#include <immintrin.h>

#include "native/cpu/crf/crf_rows.h"
#include "native/cpu/simd/vmath_avx2.h"

namespace wm {

namespace {

template <int W>
struct Row {
  static constexpr int kFull = W / 8;
  __m256 y[kFull > 0 ? kFull : 1];
  __m128 x;

  void load(const float *p) {
    for (int i = 0; i < kFull; ++i) y[i] = _mm256_loadu_ps(p + 8 * i);
    if constexpr (W == 4) x = _mm_loadu_ps(p);
  }
  void store(float *p) const {
    for (int i = 0; i < kFull; ++i) _mm256_storeu_ps(p + 8 * i, y[i]);
    if constexpr (W == 4) _mm_storeu_ps(p, x);
  }
  void add(const float *p) {
    for (int i = 0; i < kFull; ++i) y[i] = _mm256_add_ps(y[i], _mm256_loadu_ps(p + 8 * i));
    if constexpr (W == 4) x = _mm_add_ps(x, _mm_loadu_ps(p));
  }
  void add_scaled(float w, const float *p) {
    const __m256 factor = _mm256_set1_ps(w);
    for (int i = 0; i < kFull; ++i) y[i] = _mm256_fmadd_ps(factor, _mm256_loadu_ps(p + 8 * i), y[i]);
    if constexpr (W == 4) x = _mm_fmadd_ps(_mm_set1_ps(w), _mm_loadu_ps(p), x);
  }
  void add_scaled_row(float w, const Row &row) {
    const __m256 factor = _mm256_set1_ps(w);
    for (int i = 0; i < kFull; ++i) y[i] = _mm256_fmadd_ps(factor, row.y[i], y[i]);
    if constexpr (W == 4) x = _mm_fmadd_ps(_mm_set1_ps(w), row.x, x);
  }
  void scale(float w) {
    for (int i = 0; i < kFull; ++i) y[i] = _mm256_mul_ps(y[i], _mm256_set1_ps(w));
    if constexpr (W == 4) x = _mm_mul_ps(x, _mm_set1_ps(w));
  }
  void scale_by(const Row &row) {
    for (int i = 0; i < kFull; ++i) y[i] = _mm256_mul_ps(y[i], row.y[i]);
    if constexpr (W == 4) x = _mm_mul_ps(x, row.x);
  }
  void subtract_exp(float m) {
    for (int i = 0; i < kFull; ++i) y[i] = exp256(_mm256_sub_ps(y[i], _mm256_set1_ps(m)));
    if constexpr (W == 4) {
      x = _mm256_castps256_ps128(exp256(_mm256_zextps128_ps256(_mm_sub_ps(x, _mm_set1_ps(m)))));
    }
  }
  float max() const {
    __m128 m = x;
    if constexpr (W >= 8) {
      __m256 all = y[0];
      for (int i = 1; i < kFull; ++i) all = _mm256_max_ps(all, y[i]);
      m = _mm_max_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
    }
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }
  float sum() const {
    __m128 s = x;
    if constexpr (W >= 8) {
      __m256 all = y[0];
      for (int i = 1; i < kFull; ++i) all = _mm256_add_ps(all, y[i]);
      s = _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
    }
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
};

#include "native/cpu/crf/crf_rows_impl.h"

}  // namespace

const CrfRowKernels kCrfRowsAvx2 = {slice, softmax, splat, reduce, blur};

}  // namespace wm

#endif
