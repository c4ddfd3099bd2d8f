// Row loops of the optimisers on 16 f32 lanes, masks for ragged ends.
#if defined(__AVX512F__)
// GCC 12 takes the don't-care operand inside its own intrinsics for an uninitialised variable (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include "native/cpu/optim/optim_rows.h"

namespace wm {

namespace {

struct Vector512 {
  using F = __m512;
  using D = __m512d;
  static constexpr int64_t kWidth = 16;

  static __mmask16 first(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
  static F load(const float *x) { return _mm512_loadu_ps(x); }
  static F load_part(const float *x, int64_t n) { return _mm512_maskz_loadu_ps(first(n), x); }
  static void store(float *x, F v) { _mm512_storeu_ps(x, v); }
  static void store_part(float *x, int64_t n, F v) { _mm512_mask_storeu_ps(x, first(n), v); }
  static F set(float x) { return _mm512_set1_ps(x); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F sqrt(F x) { return _mm512_sqrt_ps(x); }

  // To nearest, ties to even; NaN keeps a quiet bit.
  static __m256i round_half(F v) {
    const __m512i u = _mm512_castps_si512(v), high = _mm512_srli_epi32(u, 16);
    const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(rounded, nan, high, _mm512_set1_epi32(0x40)));
  }
  static void store_half(uint16_t *x, F v) { _mm256_storeu_si256(reinterpret_cast<__m256i *>(x), round_half(v)); }
  static void store_half_part(uint16_t *x, int64_t n, F v) { _mm256_mask_storeu_epi16(x, first(n), round_half(v)); }

  static D zero() { return _mm512_setzero_pd(); }
  static D add_wide(D a, D b) { return _mm512_add_pd(a, b); }
  static D square_sum(D acc, F v) {
    const D low = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
    const D high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
    return _mm512_fmadd_pd(high, high, _mm512_fmadd_pd(low, low, acc));
  }
  static double sum(D a) { return _mm512_reduce_add_pd(a); }
};

#include "native/cpu/optim/optim_rows_impl.h"

constexpr OptimKernels<float> kTable = OptimLoops<Vector512>::table();

}  // namespace

const OptimKernels<float> &optim_kernels_avx512() { return kTable; }

}  // namespace wm
#endif
