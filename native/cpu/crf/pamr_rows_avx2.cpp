// AVX2 kernels of pixel-adaptive mask refinement: 8 pixels a register, weights of 8 neighbours held.
#if defined(__x86_64__)

#include <immintrin.h>

#include "native/cpu/crf/pamr_rows.h"
#include "native/cpu/simd/vmath_avx2.h"

namespace wm {

namespace {

struct V {
  static constexpr int kLanes = 8;
  __m256 v;
  static V load(const float *p) { return {_mm256_loadu_ps(p)}; }
  static void store(float *p, V a) { _mm256_storeu_ps(p, a.v); }
  static V set(float x) { return {_mm256_set1_ps(x)}; }
  static V add(V a, V b) { return {_mm256_add_ps(a.v, b.v)}; }
  static V sub(V a, V b) { return {_mm256_sub_ps(a.v, b.v)}; }
  static V mul(V a, V b) { return {_mm256_mul_ps(a.v, b.v)}; }
  static V div(V a, V b) { return {_mm256_div_ps(a.v, b.v)}; }
  static V fma(V a, V b, V c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
  static V max(V a, V b) { return {_mm256_max_ps(a.v, b.v)}; }
  static V abs(V a) { return {abs256(a.v)}; }
  static V sqrt(V a) { return {_mm256_sqrt_ps(a.v)}; }
  static V exp(V a) { return {exp256(a.v)}; }
};
constexpr int kRings = 1;

#include "native/cpu/crf/pamr_rows_impl.h"

}  // namespace

const PamrKernels kPamrAvx2 = {affinity, mix};

}  // namespace wm

#endif
