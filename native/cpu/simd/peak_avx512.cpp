#include <immintrin.h>

#include "native/cpu/simd/peak.h"

namespace wm {

namespace {

// More chains than latency times units, and few enough to stay in registers.
constexpr int kChains = 24;

float burst(long rounds) {
  __m512 x[kChains];
#pragma GCC unroll 32
  for (int i = 0; i < kChains; ++i) x[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512 half = _mm512_set1_ps(0.5f);
  const __m512 one = _mm512_set1_ps(1.0f);
  for (long r = 0; r < rounds; ++r) {
#pragma GCC unroll 32
    for (int i = 0; i < kChains; ++i) x[i] = _mm512_fmadd_ps(x[i], half, one);
  }
  __m512 sum = x[0];
#pragma GCC unroll 32
  for (int i = 1; i < kChains; ++i) sum = _mm512_add_ps(sum, x[i]);
  return _mm512_cvtss_f32(sum);
}

}  // namespace

PeakBurstInfo peak_burst_avx512() { return {burst, 2.0 * 16 * kChains}; }

}  // namespace wm
