// Epilogue of a finished tile for the AVX-512 files: scale, bias, activation, residual, rounding. `Rounding` has
// narrow(__m512) -> sixteen bf16, to nearest even.
#pragma once

#include <immintrin.h>

#include "native/cpu/math/gemm_kernels.h"
#include "native/cpu/math/gemm_tile_avx512.h"
#include "native/cpu/simd/vector512.h"
#include "native/cpu/simd/vector_ops.h"
#include "native/cpu/simd/vmath_avx512.h"

namespace wm {
namespace {

#include "native/cpu/simd/vector_ops_impl.h"

inline __m512 load_bf16(const uint16_t *p, __mmask16 mask) {
  const __m256i half = mask == 0xffff ? _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p))
                                      : _mm256_maskz_loadu_epi16(mask, p);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

// Masks are for ragged ends alone: a masked 16-bit store costs several plain ones.
template <class Rounding>
inline void store_tile(void *to, bool narrow, int64_t at, __mmask16 mask, __m512 x) {
  if (!narrow) return _mm512_mask_storeu_ps(static_cast<float *>(to) + at, mask, x);
  uint16_t *p = static_cast<uint16_t *>(to) + at;
  const __m256i half = Rounding::narrow(x);
  if (mask == 0xffff) _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), half);
  else _mm256_mask_storeu_epi16(p, mask, half);
}

template <Activation kActivation>
inline __m512 activate(__m512 x) {
  switch (kActivation) {
    case Activation::quick_gelu: return quick_gelu512(x);
    case Activation::gelu: return gelu512(x);
    case Activation::relu: return _mm512_max_ps(_mm512_setzero_ps(), x);
    case Activation::gelu_tanh: return gelu_tanh512(x);
    default: return x;
  }
}

// Shares its exponentials with `activate` beside it.
template <Activation kActivation>
inline __m512 slope(__m512 x) {
  switch (kActivation) {
    case Activation::quick_gelu: return Functions<Vector512>::d_quick_gelu(x);
    case Activation::gelu: return Functions<Vector512>::d_gelu(x);
    case Activation::relu: return Vector512::is_positive(x);
    case Activation::gelu_tanh: return Functions<Vector512>::d_gelu_tanh(x);
    default: return _mm512_set1_ps(1.0f);
  }
}

// GELU and its slope where both are rounded to bf16: Phi(-a) = e^(-a^2/2) times a polynomial in 1 / (1 + p a) (Abramowitz and
// Stegun 7.1.26, absolute error 1e-7 before the short exponential's 4e-5 relative), and the same exponential is the density.
inline void gelu_and_slope(__m512 x, __m512 &y, __m512 &d) {
  const __m512 a = _mm512_abs_ps(x);
  __m512 z = _mm512_mul_ps(_mm512_mul_ps(x, x), set512(-0.721347520f));
  z = _mm512_max_ps(set512(-150.0f), z);
  const __m512 n = round512(z), r = _mm512_sub_ps(z, n);
  __m512 e = _mm512_fmadd_ps(r, set512(0.00961812911f), set512(0.0555041087f));
  e = _mm512_fmadd_ps(e, r, set512(0.240226507f));
  e = _mm512_fmadd_ps(e, r, set512(0.693147181f));
  e = _mm512_scalef_ps(_mm512_fmadd_ps(e, r, set512(1.0f)), n);
  const __m512 t = _mm512_rcp14_ps(_mm512_fmadd_ps(a, set512(0.231641888f), set512(1.0f)));
  __m512 tail = _mm512_fmadd_ps(t, set512(0.530702714f), set512(-0.726576013f));
  tail = _mm512_fmadd_ps(tail, t, set512(0.710706870f));
  tail = _mm512_fmadd_ps(tail, t, set512(-0.142248368f));
  tail = _mm512_fmadd_ps(tail, t, set512(0.127414796f));
  tail = _mm512_mul_ps(_mm512_mul_ps(tail, t), e);
  const __mmask16 positive = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ);
  const __m512 cdf = _mm512_mask_sub_ps(tail, positive, set512(1.0f), tail);
  d = _mm512_fmadd_ps(_mm512_mul_ps(x, set512(0.398942280f)), e, cdf);
  y = _mm512_fnmadd_ps(a, tail, _mm512_max_ps(_mm512_setzero_ps(), x));
}

template <Activation kActivation, class Rounding>
void finish(const float *tile, const TileOutput &o) {
  const __m512 scale = _mm512_set1_ps(o.scale);
  for (int c = 0; c < o.cols; c += 16) {
    const int left = o.cols - c;
    const __mmask16 mask =
        left >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << left) - 1u);
    const __m512 factor =
        o.column_scale ? _mm512_mul_ps(scale, _mm512_maskz_loadu_ps(mask, o.column_scale + c)) : scale;
    const __m512 bias = o.bias ? _mm512_maskz_loadu_ps(mask, o.bias + c) : _mm512_setzero_ps();
    for (int r = 0; r < o.rows; ++r) {
      __m512 x = _mm512_loadu_ps(tile + r * kPanelCols + c);
      if (o.partial) x = _mm512_add_ps(_mm512_loadu_ps(o.partial + r * o.partial_stride + c), x);
      x = _mm512_fmadd_ps(x, factor, bias);
      const int64_t at = r * o.out_stride + c;
      if (o.gate) {
        x = _mm512_mul_ps(x, o.gate_bf16 ? load_bf16(static_cast<const uint16_t *>(o.gate) + at, mask)
                                         : _mm512_maskz_loadu_ps(mask, static_cast<const float *>(o.gate) + at));
      }
      if (o.slope && kActivation == Activation::gelu && o.out_bf16) {
        __m512 d;
        gelu_and_slope(x, x, d);
        store_tile<Rounding>(o.slope, true, at, mask, d);
      } else {
        if (o.slope) store_tile<Rounding>(o.slope, o.out_bf16, at, mask, slope<kActivation>(x));
        x = activate<kActivation>(x);
      }
      if (o.residual) {
        const int64_t from = r * o.residual_stride + c;
        x = _mm512_add_ps(x, o.residual_bf16
                                 ? load_bf16(static_cast<const uint16_t *>(o.residual) + from, mask)
                                 : _mm512_maskz_loadu_ps(mask, static_cast<const float *>(o.residual) + from));
      }
      store_tile<Rounding>(o.out, o.out_bf16, at, mask, x);
    }
  }
}

template <class Rounding>
void finish_any(const float *tile, const TileOutput &o) {
  switch (o.activation) {
    case Activation::none: return finish<Activation::none, Rounding>(tile, o);
    case Activation::quick_gelu: return finish<Activation::quick_gelu, Rounding>(tile, o);
    case Activation::gelu: return finish<Activation::gelu, Rounding>(tile, o);
    case Activation::relu: return finish<Activation::relu, Rounding>(tile, o);
    case Activation::gelu_tanh: return finish<Activation::gelu_tanh, Rounding>(tile, o);
  }
}

}  // namespace
}  // namespace wm
