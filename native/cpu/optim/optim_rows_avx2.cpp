// Row loops of the optimisers on 8 f32 lanes, masked loads for ragged ends.
#if defined(__AVX2__)
#include "native/cpu/optim/optim_rows.h"
#include "native/cpu/simd/vector256.h"

namespace wm {

namespace {

struct Lanes : Vector256 {
  using D = __m256d;

  static void store_half(uint16_t *x, F v) { _mm_storeu_si128(reinterpret_cast<__m128i *>(x), narrow_bf16(v)); }
  static void store_half_part(uint16_t *x, int64_t n, F v) {
    alignas(16) uint16_t all[8];
    _mm_store_si128(reinterpret_cast<__m128i *>(all), narrow_bf16(v));
    for (int64_t i = 0; i < n; ++i) x[i] = all[i];
  }

  static D zero() { return _mm256_setzero_pd(); }
  static D add_wide(D a, D b) { return _mm256_add_pd(a, b); }
  static D square_sum(D acc, F v) {
    const D low = _mm256_cvtps_pd(_mm256_castps256_ps128(v)), high = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
    return _mm256_fmadd_pd(high, high, _mm256_fmadd_pd(low, low, acc));
  }
  static double sum(D a) {
    const __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
  }
};

#include "native/cpu/optim/optim_rows_impl.h"

constexpr OptimKernels<float> kTable = OptimLoops<Lanes>::table();

}  // namespace

const OptimKernels<float> &optim_kernels_avx2() { return kTable; }

}  // namespace wm
#endif
