// The vector type of vector_ops_impl.h for AVX-512: 16 f32 lanes, masks for ragged ends.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "native/cpu/simd/vmath_avx512.h"

namespace wm {
namespace {

struct Vector512 {
  using Scalar = float;
  using F = __m512;
  static constexpr int64_t kWidth = 16;

  static __mmask16 first(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
  static F load(const float *x) { return _mm512_loadu_ps(x); }
  static F load_part(const float *x, int64_t n) { return _mm512_maskz_loadu_ps(first(n), x); }
  static void store(float *x, F v) { _mm512_storeu_ps(x, v); }
  static void store_part(float *x, int64_t n, F v) { _mm512_mask_storeu_ps(x, first(n), v); }
  static F keep_part(F x, int64_t n, float fill) {
    return n == kWidth ? x : _mm512_mask_blend_ps(first(n), _mm512_set1_ps(fill), x);
  }

  static F set(float x) { return _mm512_set1_ps(x); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  // The instructions return b when either side is NaN, so only a NaN in a needs care.
  static F max(F a, F b) { return _mm512_mask_mov_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a); }
  static F min(F a, F b) { return _mm512_mask_mov_ps(_mm512_min_ps(a, b), _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), a); }
  static F relu(F x) { return _mm512_max_ps(_mm512_setzero_ps(), x); }
  static F neg(F x) { return _mm512_xor_ps(x, _mm512_set1_ps(-0.0f)); }
  static F abs(F x) { return _mm512_abs_ps(x); }
  static F sqrt(F x) { return _mm512_sqrt_ps(x); }
  static F exp(F x) { return exp512(x); }
  static F log(F x) { return log512(x); }
  static F sigmoid(F x) { return sigmoid512(x); }
  static F tanh(F x) { return tanh512(x); }
  static F gelu(F x) { return gelu512(x); }
  static F gelu_tanh(F x) { return gelu_tanh512(x); }
  static F quick_gelu(F x) { return quick_gelu512(x); }
  // Phi(-|x|) by the same polynomial as GELU's, mirrored for positive x.
  static F normal_cdf(F x) {
    const F tail = exp2_512(polynomial512(vmath::kHalfErfc, abs(x)));
    const __mmask16 positive = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ);
    return _mm512_mask_sub_ps(tail, positive, set(1.0f), tail);
  }
  static F is_positive(F x) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ), set(1.0f));
  }
  static F sign(F x) {
    const __mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
    return _mm512_mask_mov_ps(is_positive(x), negative, set(-1.0f));
  }
  static F is_between(F x, F a, F b) {
    const __mmask16 above = _mm512_cmp_ps_mask(x, a, _CMP_GE_OQ);
    return _mm512_maskz_mov_ps(_mm512_mask_cmp_ps_mask(above, x, b, _CMP_LE_OQ), set(1.0f));
  }
  static float sum_lanes(F x) { return _mm512_reduce_add_ps(x); }
  template <class Merge>
  static float fold_lanes(F x, Merge merge) {
    x = merge(x, _mm512_shuffle_f32x4(x, x, 0x4e));
    x = merge(x, _mm512_shuffle_f32x4(x, x, 0xb1));
    x = merge(x, _mm512_permute_ps(x, 0x4e));
    x = merge(x, _mm512_permute_ps(x, 0xb1));
    return _mm512_cvtss_f32(x);
  }
  static float max_lanes(F x) { return fold_lanes(x, [](F a, F b) { return max(a, b); }); }
  static float min_lanes(F x) { return fold_lanes(x, [](F a, F b) { return min(a, b); }); }
  // To nearest, ties to even; NaN keeps a quiet bit.
  static __m256i narrow_bf16(F v) {
    const __m512i u = _mm512_castps_si512(v), high = _mm512_srli_epi32(u, 16);
    const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(rounded, nan, high, _mm512_set1_epi32(0x40)));
  }
};

}  // namespace
}  // namespace wm
