// Row loops of the optimisers on 8 f32 lanes, masked loads for ragged ends.
#if defined(__AVX2__)
#include <immintrin.h>

#include "native/cpu/optim/optim_rows.h"

namespace wm {

namespace {

struct Vector256 {
  using F = __m256;
  using D = __m256d;
  static constexpr int64_t kWidth = 8;

  static __m256i first(int64_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
  }
  static F load(const float *x) { return _mm256_loadu_ps(x); }
  static F load_part(const float *x, int64_t n) { return _mm256_maskload_ps(x, first(n)); }
  static void store(float *x, F v) { _mm256_storeu_ps(x, v); }
  static void store_part(float *x, int64_t n, F v) { _mm256_maskstore_ps(x, first(n), v); }
  static F set(float x) { return _mm256_set1_ps(x); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F sqrt(F x) { return _mm256_sqrt_ps(x); }

  // To nearest, ties to even; NaN keeps a quiet bit.
  static __m128i round_half(F v) {
    const __m256i u = _mm256_castps_si256(v), high = _mm256_srli_epi32(u, 16);
    const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256i bits = _mm256_blendv_epi8(rounded, _mm256_or_si256(high, _mm256_set1_epi32(0x40)), nan);
    return _mm_packus_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
  }
  static void store_half(uint16_t *x, F v) { _mm_storeu_si128(reinterpret_cast<__m128i *>(x), round_half(v)); }
  static void store_half_part(uint16_t *x, int64_t n, F v) {
    alignas(16) uint16_t all[8];
    _mm_store_si128(reinterpret_cast<__m128i *>(all), round_half(v));
    for (int64_t i = 0; i < n; ++i) x[i] = all[i];
  }

  static D zero() { return _mm256_setzero_pd(); }
  static D add_wide(D a, D b) { return _mm256_add_pd(a, b); }
  static D square_sum(D acc, F v) {
    const D low = _mm256_cvtps_pd(_mm256_castps256_ps128(v)), high = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
    return _mm256_fmadd_pd(high, high, _mm256_fmadd_pd(low, low, acc));
  }
  static double sum(D a) {
    const __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
  }
};

#include "native/cpu/optim/optim_rows_impl.h"

constexpr OptimKernels<float> kTable = OptimLoops<Vector256>::table();

}  // namespace

const OptimKernels<float> &optim_kernels_avx2() { return kTable; }

}  // namespace wm
#endif
