// Row loops of the optimisers on 16 f32 lanes, masks for ragged ends.
#if defined(__AVX512F__)
// GCC 12 takes the don't-care operand inside its own intrinsics for an uninitialised variable (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include "native/cpu/optim/optim_rows.h"
#include "native/cpu/simd/vector512.h"

namespace wm {

namespace {

struct Lanes : Vector512 {
  using D = __m512d;

  static void store_half(uint16_t *x, F v) { _mm256_storeu_si256(reinterpret_cast<__m256i *>(x), narrow_bf16(v)); }
  static void store_half_part(uint16_t *x, int64_t n, F v) { _mm256_mask_storeu_epi16(x, first(n), narrow_bf16(v)); }

  static D zero() { return _mm512_setzero_pd(); }
  static D add_wide(D a, D b) { return _mm512_add_pd(a, b); }
  static D square_sum(D acc, F v) {
    const D low = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
    const D high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
    return _mm512_fmadd_pd(high, high, _mm512_fmadd_pd(low, low, acc));
  }
  static double sum(D a) { return _mm512_reduce_add_pd(a); }
};

#include "native/cpu/optim/optim_rows_impl.h"

constexpr OptimKernels<float> kTable = OptimLoops<Lanes>::table();

}  // namespace

const OptimKernels<float> &optim_kernels_avx512() { return kTable; }

}  // namespace wm
#endif
