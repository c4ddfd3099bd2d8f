// The AVX2 tables of vector_ops.h: 8 f32 lanes, masked loads for ragged ends.
#if defined(__AVX2__)
#include "native/cpu/simd/vector256.h"
#include "native/cpu/simd/vector_ops.h"

namespace wm {

namespace {

#include "native/cpu/simd/vector_ops_impl.h"

__m256 widen_bf16(const uint16_t *x) {
  const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i *>(x));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

__m256 widen_f16(const uint16_t *x) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(x))); }
__m128i narrow_f16(__m256 v) { return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

template <class Widen>
void widen_row(const uint16_t *x, float *y, int64_t n, Widen widen) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, widen(x + i));
  if (i == n) return;
  uint16_t tail[8] = {};
  for (int64_t k = i; k < n; ++k) tail[k - i] = x[k];
  Vector256::store_part(y + i, n - i, widen(tail));
}

template <class Narrow>
void narrow_row(const float *x, uint16_t *y, int64_t n, Narrow narrow) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) _mm_storeu_si128(reinterpret_cast<__m128i *>(y + i), narrow(_mm256_loadu_ps(x + i)));
  if (i == n) return;
  uint16_t tail[8];
  _mm_storeu_si128(reinterpret_cast<__m128i *>(tail), narrow(Vector256::load_part(x + i, n - i)));
  for (int64_t k = i; k < n; ++k) y[k] = tail[k - i];
}

void bf16_to_f32(const uint16_t *x, float *y, int64_t n) { widen_row(x, y, n, widen_bf16); }
void f32_to_bf16(const float *x, uint16_t *y, int64_t n) { narrow_row(x, y, n, Vector256::narrow_bf16); }
void f16_to_f32(const uint16_t *x, float *y, int64_t n) { widen_row(x, y, n, widen_f16); }
void f32_to_f16(const float *x, uint16_t *y, int64_t n) { narrow_row(x, y, n, narrow_f16); }

}  // namespace

const VectorOps<float> kVectorOpsAvx2 = make_vector_ops<Vector256>();
const ConvertOps kConvertAvx2 = {bf16_to_f32, f32_to_bf16, f16_to_f32, f32_to_f16};

}  // namespace wm
#endif
