// Elementary functions on 16 f32 lanes. Include it only from a file compiled for AVX-512 (*_avx512*.cpp):
// everything is in an anonymous namespace, so no other file can pick up code of this instruction set at link
// time. Relative error at most 2e-7 (test/native/vmath_test.cpp). NaN stays NaN. Results too small for a
// normal f32 become 0.
#pragma once

#if !defined(__AVX512F__) || !defined(__AVX512DQ__)
#error "vmath_avx512.h needs -mavx512f -mavx512dq"
#endif

#include <immintrin.h>

#include "native/cpu/simd/vmath_coefficients.h"

namespace wm {
namespace {

inline __m512 set512(float x) { return _mm512_set1_ps(x); }
inline __m512 abs512(__m512 x) { return _mm512_abs_ps(x); }

// c[0] + c[1] x + ... + c[N-1] x^(N-1) by Horner's rule.
template <int N>
inline __m512 polynomial512(const float (&c)[N], __m512 x) {
  __m512 y = set512(c[N - 1]);
#pragma GCC unroll 16
  for (int i = N - 2; i >= 0; --i) y = _mm512_fmadd_ps(y, x, set512(c[i]));
  return y;
}

inline __m512 round512(__m512 x) {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

// e^x; x < -87.34 (-infinity included) gives 0, x > 88.73 gives infinity.
inline __m512 exp512(__m512 x) {
  const __mmask16 tiny = _mm512_cmp_ps_mask(x, set512(vmath::kExpLowest), _CMP_LT_OQ);
  // The bound comes first: max and min return their second operand when one is NaN.
  x = _mm512_min_ps(set512(vmath::kExpHighest), _mm512_max_ps(set512(vmath::kExpLowest), x));
  const __m512 n = round512(_mm512_mul_ps(x, set512(vmath::kLog2e)));
  __m512 r = _mm512_fnmadd_ps(n, set512(vmath::kLn2High), x);
  r = _mm512_fnmadd_ps(n, set512(vmath::kLn2Low), r);
  __m512 y = polynomial512(vmath::kExp, r);
  y = _mm512_fmadd_ps(_mm512_mul_ps(r, r), y, r);
  y = _mm512_add_ps(y, set512(1.0f));
  return _mm512_mask_scalef_ps(_mm512_setzero_ps(), static_cast<__mmask16>(~tiny), y, n);
}

// 2^x; x < -126 gives 0. Cheaper than exp512: a softmax folds log2(e) into its scale.
inline __m512 exp2_512(__m512 x) {
  const __mmask16 tiny = _mm512_cmp_ps_mask(x, set512(-126.0f), _CMP_LT_OQ);
  x = _mm512_min_ps(set512(129.0f), _mm512_max_ps(set512(-126.0f), x));
  const __m512 n = round512(x);
  const __m512 r = _mm512_sub_ps(x, n);
  const __m512 y = _mm512_fmadd_ps(polynomial512(vmath::kExp2, r), r, set512(1.0f));
  return _mm512_mask_scalef_ps(_mm512_setzero_ps(), static_cast<__mmask16>(~tiny), y, n);
}

// ln x for x >= 0 (0 gives -infinity, negative values NaN).
inline __m512 log512(__m512 x) {
  const __mmask16 special = _mm512_fpclass_ps_mask(x, 0x01 | 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80);
  // x = 2^e (1 + m) with 1 + m in [sqrt(1/2), sqrt(2)).
  __m512 f = _mm512_getmant_ps(x, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero);
  __m512 e = _mm512_getexp_ps(x);
  const __mmask16 high = _mm512_cmp_ps_mask(f, set512(1.41421354f), _CMP_GE_OQ);
  f = _mm512_mask_mul_ps(f, high, f, set512(0.5f));
  e = _mm512_mask_add_ps(e, high, e, set512(1.0f));
  const __m512 m = _mm512_sub_ps(f, set512(1.0f));
  const __m512 m2 = _mm512_mul_ps(m, m);
  __m512 y = _mm512_mul_ps(_mm512_mul_ps(polynomial512(vmath::kLog, m), m), m2);
  y = _mm512_fmadd_ps(e, set512(vmath::kLn2Low), y);
  y = _mm512_fnmadd_ps(m2, set512(0.5f), y);
  y = _mm512_fmadd_ps(e, set512(vmath::kLn2High), _mm512_add_ps(m, y));
  // Square root and reciprocal give NaN for negative x and the right zeros and infinities without a table.
  const __m512 root = _mm512_sqrt_ps(x);
  const __m512 edge = _mm512_sub_ps(root, _mm512_div_ps(set512(1.0f), abs512(root)));
  return _mm512_mask_mov_ps(y, special, edge);
}

// 1 / (1 + e^-x)
inline __m512 sigmoid512(__m512 x) {
  const __m512 e = exp512(_mm512_sub_ps(_mm512_setzero_ps(), x));
  return _mm512_div_ps(set512(1.0f), _mm512_add_ps(e, set512(1.0f)));
}

inline __m512 erf512(__m512 x) {
  const __m512 t = abs512(x);
  const __m512 small = _mm512_mul_ps(x, polynomial512(vmath::kErfSmall, _mm512_mul_ps(x, x)));
  const __m512 clipped = _mm512_min_ps(set512(vmath::kErfOne), t);
  const __m512 rest = exp512(polynomial512(vmath::kErfLarge, clipped));
  const __m512 large = _mm512_sub_ps(set512(1.0f), rest);
  const __m512 sign = _mm512_and_ps(x, set512(-0.0f));
  const __mmask16 is_large = _mm512_cmp_ps_mask(t, set512(1.0f), _CMP_GT_OQ);
  return _mm512_mask_or_ps(small, is_large, large, sign);
}

inline __m512 tanh512(__m512 x) {
  const __m512 t = abs512(x);
  const __m512 s = _mm512_mul_ps(x, x);
  const __m512 small = _mm512_fmadd_ps(_mm512_mul_ps(polynomial512(vmath::kTanh, s), s), x, x);
  const __m512 e = exp512(_mm512_add_ps(t, t));
  const __m512 large =
      _mm512_sub_ps(set512(1.0f), _mm512_div_ps(set512(2.0f), _mm512_add_ps(e, set512(1.0f))));
  const __m512 sign = _mm512_and_ps(x, set512(-0.0f));
  const __mmask16 is_large = _mm512_cmp_ps_mask(t, set512(vmath::kTanhSmall), _CMP_GT_OQ);
  return _mm512_mask_or_ps(small, is_large, large, sign);
}

// x Phi(x), the erf form of GELU, as max(x, 0) - |x| Phi(-|x|): no cancellation for negative x.
inline __m512 gelu512(__m512 x) {
  const __m512 a = abs512(x);
  const __m512 tail = exp2_512(polynomial512(vmath::kHalfErfc, a));
  return _mm512_fnmadd_ps(a, tail, _mm512_max_ps(_mm512_setzero_ps(), x));
}

// x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)), which equals the tanh form of GELU.
inline __m512 gelu_tanh512(__m512 x) {
  const __m512 cubic = _mm512_fmadd_ps(_mm512_mul_ps(x, x), set512(0.0713548163f), set512(1.59576912f));
  return _mm512_mul_ps(x, sigmoid512(_mm512_mul_ps(x, cubic)));
}

// x sigmoid(1.702 x), the activation of OpenAI's CLIP.
inline __m512 quick_gelu512(__m512 x) {
  return _mm512_mul_ps(x, sigmoid512(_mm512_mul_ps(x, set512(1.702f))));
}

}  // namespace
}  // namespace wm
