// AVX-512 kernels of pixel-adaptive mask refinement: 16 pixels a register, weights of up to 24 neighbours held.
#if defined(__x86_64__)

// GCC 12 takes the undefined upper halves inside its own intrinsics for uninitialised variables.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#include <immintrin.h>

#include "native/cpu/crf/pamr_rows.h"
#include "native/cpu/simd/vmath_avx512.h"

namespace wm {

namespace {

struct V {
  static constexpr int kLanes = 16;
  __m512 v;
  static V load(const float *p) { return {_mm512_loadu_ps(p)}; }
  static void store(float *p, V a) { _mm512_storeu_ps(p, a.v); }
  static V set(float x) { return {_mm512_set1_ps(x)}; }
  static V add(V a, V b) { return {_mm512_add_ps(a.v, b.v)}; }
  static V sub(V a, V b) { return {_mm512_sub_ps(a.v, b.v)}; }
  static V mul(V a, V b) { return {_mm512_mul_ps(a.v, b.v)}; }
  static V div(V a, V b) { return {_mm512_div_ps(a.v, b.v)}; }
  static V fma(V a, V b, V c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
  static V max(V a, V b) { return {_mm512_max_ps(a.v, b.v)}; }
  static V abs(V a) { return {abs512(a.v)}; }
  static V sqrt(V a) { return {_mm512_sqrt_ps(a.v)}; }
  static V exp(V a) { return {exp512(a.v)}; }
};
constexpr int kRings = 3;

#include "native/cpu/crf/pamr_rows_impl.h"

}  // namespace

const PamrKernels kPamrAvx512 = {affinity, mix};

}  // namespace wm

#endif
