// AVX2 inner sum of the Gaussian blur.
#if defined(__x86_64__)

#include <immintrin.h>

#include "native/cpu/image/gaussian_blur_rows.h"

namespace wm {

void blur_row_avx2(const float *const *rows, const float *weights, int64_t radius, int64_t count, float *out) {
  int64_t i = 0;
  for (; i + 32 <= count; i += 32) {
    __m256 sum[4];
    for (int j = 0; j < 4; ++j) sum[j] = _mm256_mul_ps(_mm256_set1_ps(weights[0]), _mm256_loadu_ps(rows[0] + i + 8 * j));
    for (int64_t k = 1; k <= radius; ++k) {
      const float *a = rows[2 * k - 1] + i, *b = rows[2 * k] + i;
      const __m256 weight = _mm256_set1_ps(weights[k]);
      for (int j = 0; j < 4; ++j) {
        sum[j] = _mm256_fmadd_ps(weight, _mm256_add_ps(_mm256_loadu_ps(a + 8 * j), _mm256_loadu_ps(b + 8 * j)), sum[j]);
      }
    }
    for (int j = 0; j < 4; ++j) _mm256_storeu_ps(out + i + 8 * j, sum[j]);
  }
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  for (; i < count; i += 8) {
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count - i)), lane);
    __m256 sum = _mm256_mul_ps(_mm256_set1_ps(weights[0]), _mm256_maskload_ps(rows[0] + i, mask));
    for (int64_t k = 1; k <= radius; ++k) {
      const __m256 pair = _mm256_add_ps(_mm256_maskload_ps(rows[2 * k - 1] + i, mask), _mm256_maskload_ps(rows[2 * k] + i, mask));
      sum = _mm256_fmadd_ps(_mm256_set1_ps(weights[k]), pair, sum);
    }
    _mm256_maskstore_ps(out + i, mask, sum);
  }
}

}  // namespace wm

#endif
