// The vector type of vector_ops_impl.h for AVX2: 8 f32 lanes, masked loads for ragged ends.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "native/cpu/simd/vmath_avx2.h"

namespace wm {
namespace {

struct Vector256 {
  using Scalar = float;
  using F = __m256;
  static constexpr int64_t kWidth = 8;

  static __m256i first(int64_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
  }
  static F load(const float *x) { return _mm256_loadu_ps(x); }
  static F load_part(const float *x, int64_t n) { return _mm256_maskload_ps(x, first(n)); }
  static void store(float *x, F v) { _mm256_storeu_ps(x, v); }
  static void store_part(float *x, int64_t n, F v) { _mm256_maskstore_ps(x, first(n), v); }
  static F keep_part(F x, int64_t n, float fill) {
    return n == kWidth ? x : _mm256_blendv_ps(_mm256_set1_ps(fill), x, _mm256_castsi256_ps(first(n)));
  }

  static F set(float x) { return _mm256_set1_ps(x); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  // The instructions return b when either side is NaN, so only a NaN in a needs care.
  static F max(F a, F b) { return _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q)); }
  static F min(F a, F b) { return _mm256_blendv_ps(_mm256_min_ps(a, b), a, _mm256_cmp_ps(a, a, _CMP_UNORD_Q)); }
  static F relu(F x) { return _mm256_max_ps(_mm256_setzero_ps(), x); }
  static F neg(F x) { return _mm256_xor_ps(x, set(-0.0f)); }
  static F abs(F x) { return _mm256_andnot_ps(set(-0.0f), x); }
  static F sqrt(F x) { return _mm256_sqrt_ps(x); }
  static F exp(F x) { return exp256(x); }
  static F log(F x) { return log256(x); }
  static F sigmoid(F x) { return sigmoid256(x); }
  static F tanh(F x) { return tanh256(x); }
  static F gelu(F x) { return gelu256(x); }
  static F gelu_tanh(F x) { return gelu_tanh256(x); }
  static F quick_gelu(F x) { return quick_gelu256(x); }
  // Phi(-|x|) by the same polynomial as GELU's, mirrored for positive x.
  static F normal_cdf(F x) {
    const F tail = exp2_256(polynomial256(vmath::kHalfErfc, abs(x)));
    return _mm256_blendv_ps(tail, sub(set(1.0f), tail), _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GT_OQ));
  }
  static F is_positive(F x) { return _mm256_and_ps(_mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GT_OQ), set(1.0f)); }
  static F sign(F x) {
    const F negative = _mm256_and_ps(_mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_LT_OQ), set(1.0f));
    return sub(is_positive(x), negative);
  }
  static F is_between(F x, F a, F b) {
    const F inside = _mm256_and_ps(_mm256_cmp_ps(x, a, _CMP_GE_OQ), _mm256_cmp_ps(x, b, _CMP_LE_OQ));
    return _mm256_and_ps(inside, set(1.0f));
  }
  template <class Merge>
  static float fold_lanes(F x, Merge merge) {
    x = merge(x, _mm256_permute2f128_ps(x, x, 1));
    x = merge(x, _mm256_permute_ps(x, 0x4e));
    x = merge(x, _mm256_permute_ps(x, 0xb1));
    return _mm256_cvtss_f32(x);
  }
  static float sum_lanes(F x) { return fold_lanes(x, [](F a, F b) { return add(a, b); }); }
  static float max_lanes(F x) { return fold_lanes(x, [](F a, F b) { return max(a, b); }); }
  static float min_lanes(F x) { return fold_lanes(x, [](F a, F b) { return min(a, b); }); }
  // To nearest, ties to even; NaN keeps a quiet bit.
  static __m128i narrow_bf16(F v) {
    const __m256i u = _mm256_castps_si256(v), high = _mm256_srli_epi32(u, 16);
    const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
    const __m256i bits = _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
    return _mm_packus_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
  }
};

}  // namespace
}  // namespace wm
