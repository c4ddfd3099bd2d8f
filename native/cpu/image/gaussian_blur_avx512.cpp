// AVX-512 inner sum of the Gaussian blur.
#if defined(__x86_64__)

#include <immintrin.h>

#include "native/cpu/image/gaussian_blur_rows.h"

namespace wm {

void blur_row_avx512(const float *const *rows, const float *weights, int64_t radius, int64_t count, float *out) {
  int64_t i = 0;
  for (; i + 64 <= count; i += 64) {
    __m512 sum[4];
    for (int j = 0; j < 4; ++j) sum[j] = _mm512_mul_ps(_mm512_set1_ps(weights[0]), _mm512_loadu_ps(rows[0] + i + 16 * j));
    for (int64_t k = 1; k <= radius; ++k) {
      const float *a = rows[2 * k - 1] + i, *b = rows[2 * k] + i;
      const __m512 weight = _mm512_set1_ps(weights[k]);
      for (int j = 0; j < 4; ++j) {
        sum[j] = _mm512_fmadd_ps(weight, _mm512_add_ps(_mm512_loadu_ps(a + 16 * j), _mm512_loadu_ps(b + 16 * j)), sum[j]);
      }
    }
    for (int j = 0; j < 4; ++j) _mm512_storeu_ps(out + i + 16 * j, sum[j]);
  }
  for (; i < count; i += 16) {
    const __mmask16 mask = static_cast<__mmask16>(count - i >= 16 ? 0xffff : (1 << (count - i)) - 1);
    __m512 sum = _mm512_mul_ps(_mm512_set1_ps(weights[0]), _mm512_maskz_loadu_ps(mask, rows[0] + i));
    for (int64_t k = 1; k <= radius; ++k) {
      const __m512 pair = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, rows[2 * k - 1] + i), _mm512_maskz_loadu_ps(mask, rows[2 * k] + i));
      sum = _mm512_fmadd_ps(_mm512_set1_ps(weights[k]), pair, sum);
    }
    _mm512_mask_storeu_ps(out + i, mask, sum);
  }
}

}  // namespace wm

#endif
