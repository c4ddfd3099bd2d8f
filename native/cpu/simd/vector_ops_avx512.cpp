// The AVX-512 tables of vector_ops.h: 16 f32 lanes, masks for ragged ends.
#if defined(__AVX512F__)
// GCC 12 takes the don't-care operand inside its own intrinsics for an uninitialised variable (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include "native/cpu/simd/vector512.h"
#include "native/cpu/simd/vector_ops.h"
#include "native/cpu/simd/vmath_avx512.h"

namespace wm {

namespace {

#include "native/cpu/simd/vector_ops_impl.h"

__m512 widen_bf16(__m256i half) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16)); }

__m512 widen_f16(__m256i half) { return _mm512_cvtph_ps(half); }
__m256i narrow_f16(__m512 v) { return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

// Masks are for the ragged end alone: a masked 16-bit store costs several plain ones.
template <class Widen>
void widen_row(const uint16_t *x, float *y, int64_t n, Widen widen) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    _mm512_storeu_ps(y + i, widen(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(x + i))));
  }
  if (i == n) return;
  const __mmask16 rest = Vector512::first(n - i);
  _mm512_mask_storeu_ps(y + i, rest, widen(_mm256_maskz_loadu_epi16(rest, x + i)));
}

template <class Narrow>
void narrow_row(const float *x, uint16_t *y, int64_t n, Narrow narrow) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(y + i), narrow(_mm512_loadu_ps(x + i)));
  }
  if (i == n) return;
  const __mmask16 rest = Vector512::first(n - i);
  _mm256_mask_storeu_epi16(y + i, rest, narrow(_mm512_maskz_loadu_ps(rest, x + i)));
}

void bf16_to_f32(const uint16_t *x, float *y, int64_t n) { widen_row(x, y, n, widen_bf16); }
void f32_to_bf16(const float *x, uint16_t *y, int64_t n) { narrow_row(x, y, n, Vector512::narrow_bf16); }
void f16_to_f32(const uint16_t *x, float *y, int64_t n) { widen_row(x, y, n, widen_f16); }
void f32_to_f16(const float *x, uint16_t *y, int64_t n) { narrow_row(x, y, n, narrow_f16); }

}  // namespace

const VectorOps<float> kVectorOpsAvx512 = make_vector_ops<Vector512>();
const ConvertOps kConvertAvx512 = {bf16_to_f32, f32_to_bf16, f16_to_f32, f32_to_f16};

}  // namespace wm
#endif
