#include <immintrin.h>

#include "native/cpu/simd/peak.h"

namespace wm {

namespace {

// More chains than latency times units, and few enough to stay in registers.
constexpr int kChains = 12;

float burst(long rounds) {
  __m256 x[kChains];
#pragma GCC unroll 32
  for (int i = 0; i < kChains; ++i) x[i] = _mm256_set1_ps(static_cast<float>(i));
  const __m256 half = _mm256_set1_ps(0.5f);
  const __m256 one = _mm256_set1_ps(1.0f);
  for (long r = 0; r < rounds; ++r) {
#pragma GCC unroll 32
    for (int i = 0; i < kChains; ++i) x[i] = _mm256_fmadd_ps(x[i], half, one);
  }
  __m256 sum = x[0];
#pragma GCC unroll 32
  for (int i = 1; i < kChains; ++i) sum = _mm256_add_ps(sum, x[i]);
  return _mm256_cvtss_f32(sum);
}

}  // namespace

PeakBurstInfo peak_burst_avx2() { return {burst, 2.0 * 8 * kChains}; }

}  // namespace wm
