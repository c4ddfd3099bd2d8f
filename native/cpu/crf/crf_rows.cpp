// Portable row kernels of the dense CRF, and the choice of the table.
#include "native/cpu/crf/crf_rows.h"

#include <cmath>

#include "native/core/cpu_info.h"
#include "native/cpu/simd/vmath_coefficients.h"

namespace wm {

namespace {

template <int W>
struct Row {
  float v[W];

  void load(const float *p) {
    for (int i = 0; i < W; ++i) v[i] = p[i];
  }
  void store(float *p) const {
    for (int i = 0; i < W; ++i) p[i] = v[i];
  }
  void add(const float *p) {
    for (int i = 0; i < W; ++i) v[i] += p[i];
  }
  void add_scaled(float w, const float *p) {
    for (int i = 0; i < W; ++i) v[i] += w * p[i];
  }
  void add_scaled_row(float w, const Row &row) {
    for (int i = 0; i < W; ++i) v[i] += w * row.v[i];
  }
  void scale(float w) {
    for (int i = 0; i < W; ++i) v[i] *= w;
  }
  void scale_by(const Row &row) {
    for (int i = 0; i < W; ++i) v[i] *= row.v[i];
  }
  void subtract_exp(float m) {
    for (int i = 0; i < W; ++i) v[i] = v[i] - m >= vmath::kExpLowest ? std::exp(v[i] - m) : 0.0f;
  }
  float max() const {
    float m = v[0];
    for (int i = 1; i < W; ++i) m = m > v[i] ? m : v[i];
    return m;
  }
  float sum() const {
    float s = v[0];
    for (int i = 1; i < W; ++i) s += v[i];
    return s;
  }
};

#include "native/cpu/crf/crf_rows_impl.h"

}  // namespace

const CrfRowKernels kCrfRowsPortable = {slice, softmax, splat, reduce, blur};

const CrfRowKernels &crf_row_kernels() {
#if defined(__x86_64__)
  if (cpu_isa() >= Isa::avx512) return kCrfRowsAvx512;
  if (cpu_isa() >= Isa::avx2) return kCrfRowsAvx2;
#endif
  return kCrfRowsPortable;
}

}  // namespace wm
