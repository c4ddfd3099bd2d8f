// Elementary functions on 8 f32 lanes. Include it only from a file compiled for AVX2 and FMA (*_avx2.cpp):
// everything is in an anonymous namespace, so no other file can pick up code of this instruction set at link
// time. Relative error at most 2e-7 (test/native/vmath_test.cpp). NaN stays NaN. Results too small for a
// normal f32 become 0.
#pragma once

#if !defined(__AVX2__) || !defined(__FMA__)
#error "vmath_avx2.h needs -mavx2 -mfma"
#endif

#include <immintrin.h>

#include "native/cpu/simd/vmath_coefficients.h"

namespace wm {
namespace {

inline __m256 set256(float x) { return _mm256_set1_ps(x); }
inline __m256 abs256(__m256 x) { return _mm256_andnot_ps(set256(-0.0f), x); }

// c[0] + c[1] x + ... + c[N-1] x^(N-1) by Horner's rule.
template <int N>
inline __m256 polynomial256(const float (&c)[N], __m256 x) {
  __m256 y = set256(c[N - 1]);
#pragma GCC unroll 16
  for (int i = N - 2; i >= 0; --i) y = _mm256_fmadd_ps(y, x, set256(c[i]));
  return y;
}

inline __m256 round256(__m256 x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

// y 2^n for whole n in [-252, 254], in two steps because 2^128 is not a finite f32.
inline __m256 scale256(__m256 y, __m256 n) {
  const __m256i i = _mm256_cvtps_epi32(n);
  const __m256i half = _mm256_srai_epi32(i, 1);
  const __m256i bias = _mm256_set1_epi32(127);
  const __m256 a = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
  const __m256 b =
      _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(i, half), bias), 23));
  return _mm256_mul_ps(_mm256_mul_ps(y, a), b);
}

// e^x; x < -87.34 (-infinity included) gives 0, x > 88.73 gives infinity.
inline __m256 exp256(__m256 x) {
  const __m256 tiny = _mm256_cmp_ps(x, set256(vmath::kExpLowest), _CMP_LT_OQ);
  // The bound comes first: max and min return their second operand when one is NaN.
  x = _mm256_min_ps(set256(vmath::kExpHighest), _mm256_max_ps(set256(vmath::kExpLowest), x));
  const __m256 n = round256(_mm256_mul_ps(x, set256(vmath::kLog2e)));
  __m256 r = _mm256_fnmadd_ps(n, set256(vmath::kLn2High), x);
  r = _mm256_fnmadd_ps(n, set256(vmath::kLn2Low), r);
  __m256 y = polynomial256(vmath::kExp, r);
  y = _mm256_fmadd_ps(_mm256_mul_ps(r, r), y, r);
  y = _mm256_add_ps(y, set256(1.0f));
  return _mm256_andnot_ps(tiny, scale256(y, n));
}

// 2^x; x < -126 gives 0. Cheaper than exp256: a softmax folds log2(e) into its scale.
inline __m256 exp2_256(__m256 x) {
  const __m256 tiny = _mm256_cmp_ps(x, set256(-126.0f), _CMP_LT_OQ);
  x = _mm256_min_ps(set256(129.0f), _mm256_max_ps(set256(-126.0f), x));
  const __m256 n = round256(x);
  const __m256 r = _mm256_sub_ps(x, n);
  const __m256 y = _mm256_fmadd_ps(polynomial256(vmath::kExp2, r), r, set256(1.0f));
  return _mm256_andnot_ps(tiny, scale256(y, n));
}

// ln x for x >= 0 (0 gives -infinity, negative values NaN).
inline __m256 log256(__m256 x) {
  // Subnormals are brought into range first; everything that is not a positive finite number is patched at
  // the end.
  const __m256 subnormal = _mm256_cmp_ps(x, set256(1.17549435e-38f), _CMP_LT_OQ);
  const __m256 scaled = _mm256_blendv_ps(x, _mm256_mul_ps(x, set256(8388608.0f)), subnormal);
  const __m256i bits = _mm256_castps_si256(scaled);
  const __m256i mantissa = _mm256_and_si256(bits, _mm256_set1_epi32(0x007fffff));
  __m256 f = _mm256_castsi256_ps(_mm256_or_si256(mantissa, _mm256_set1_epi32(0x3f800000)));
  __m256 e = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_srli_epi32(bits, 23), _mm256_set1_epi32(127)));
  e = _mm256_sub_ps(e, _mm256_and_ps(subnormal, set256(23.0f)));
  // x = 2^e (1 + m) with 1 + m in [sqrt(1/2), sqrt(2)).
  const __m256 high = _mm256_cmp_ps(f, set256(1.41421354f), _CMP_GE_OQ);
  f = _mm256_blendv_ps(f, _mm256_mul_ps(f, set256(0.5f)), high);
  e = _mm256_add_ps(e, _mm256_and_ps(high, set256(1.0f)));
  const __m256 m = _mm256_sub_ps(f, set256(1.0f));
  const __m256 m2 = _mm256_mul_ps(m, m);
  __m256 y = _mm256_mul_ps(_mm256_mul_ps(polynomial256(vmath::kLog, m), m), m2);
  y = _mm256_fmadd_ps(e, set256(vmath::kLn2Low), y);
  y = _mm256_fnmadd_ps(m2, set256(0.5f), y);
  y = _mm256_fmadd_ps(e, set256(vmath::kLn2High), _mm256_add_ps(m, y));
  // Square root and reciprocal give NaN for negative x and the right zeros and infinities without a table.
  const __m256 root = _mm256_sqrt_ps(x);
  const __m256 edge = _mm256_sub_ps(root, _mm256_div_ps(set256(1.0f), abs256(root)));
  const __m256 positive = _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GT_OQ);
  const __m256 finite = _mm256_cmp_ps(x, set256(3.40282347e+38f), _CMP_LE_OQ);
  return _mm256_blendv_ps(edge, y, _mm256_and_ps(positive, finite));
}

// 1 / (1 + e^-x)
inline __m256 sigmoid256(__m256 x) {
  const __m256 e = exp256(_mm256_sub_ps(_mm256_setzero_ps(), x));
  return _mm256_div_ps(set256(1.0f), _mm256_add_ps(e, set256(1.0f)));
}

// The sign of x on the magnitude y.
inline __m256 copysign256(__m256 y, __m256 x) { return _mm256_or_ps(y, _mm256_and_ps(x, set256(-0.0f))); }

inline __m256 erf256(__m256 x) {
  const __m256 t = abs256(x);
  const __m256 small = _mm256_mul_ps(x, polynomial256(vmath::kErfSmall, _mm256_mul_ps(x, x)));
  const __m256 clipped = _mm256_min_ps(set256(vmath::kErfOne), t);
  const __m256 rest = exp256(polynomial256(vmath::kErfLarge, clipped));
  const __m256 large = _mm256_sub_ps(set256(1.0f), rest);
  const __m256 is_large = _mm256_cmp_ps(t, set256(1.0f), _CMP_GT_OQ);
  return _mm256_blendv_ps(small, copysign256(large, x), is_large);
}

inline __m256 tanh256(__m256 x) {
  const __m256 t = abs256(x);
  const __m256 s = _mm256_mul_ps(x, x);
  const __m256 small = _mm256_fmadd_ps(_mm256_mul_ps(polynomial256(vmath::kTanh, s), s), x, x);
  const __m256 e = exp256(_mm256_add_ps(t, t));
  const __m256 large =
      _mm256_sub_ps(set256(1.0f), _mm256_div_ps(set256(2.0f), _mm256_add_ps(e, set256(1.0f))));
  const __m256 is_large = _mm256_cmp_ps(t, set256(vmath::kTanhSmall), _CMP_GT_OQ);
  return _mm256_blendv_ps(small, copysign256(large, x), is_large);
}

// x Phi(x), the erf form of GELU, as max(x, 0) - |x| Phi(-|x|): no cancellation for negative x.
inline __m256 gelu256(__m256 x) {
  const __m256 a = abs256(x);
  const __m256 tail = exp2_256(polynomial256(vmath::kHalfErfc, a));
  return _mm256_fnmadd_ps(a, tail, _mm256_max_ps(_mm256_setzero_ps(), x));
}

// x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)), which equals the tanh form of GELU.
inline __m256 gelu_tanh256(__m256 x) {
  const __m256 cubic = _mm256_fmadd_ps(_mm256_mul_ps(x, x), set256(0.0713548163f), set256(1.59576912f));
  return _mm256_mul_ps(x, sigmoid256(_mm256_mul_ps(x, cubic)));
}

// x sigmoid(1.702 x), the activation of OpenAI's CLIP.
inline __m256 quick_gelu256(__m256 x) {
  return _mm256_mul_ps(x, sigmoid256(_mm256_mul_ps(x, set256(1.702f))));
}

}  // namespace
}  // namespace wm
