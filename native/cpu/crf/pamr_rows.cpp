// Portable kernels of pixel-adaptive mask refinement, and the choice of the table.
#include "native/cpu/crf/pamr_rows.h"

#include <cmath>

#include "native/core/cpu_info.h"

namespace wm {

namespace {

struct V {
  static constexpr int kLanes = 4;
  float v[4];

  template <class F>
  static V make(F f) {
    return {{f(0), f(1), f(2), f(3)}};
  }
  static V load(const float *p) { return {{p[0], p[1], p[2], p[3]}}; }
  static void store(float *p, V a) {
    for (int i = 0; i < kLanes; ++i) p[i] = a.v[i];
  }
  static V set(float x) { return {{x, x, x, x}}; }
  static V add(V a, V b) { return make([&](int i) { return a.v[i] + b.v[i]; }); }
  static V sub(V a, V b) { return make([&](int i) { return a.v[i] - b.v[i]; }); }
  static V mul(V a, V b) { return make([&](int i) { return a.v[i] * b.v[i]; }); }
  static V div(V a, V b) { return make([&](int i) { return a.v[i] / b.v[i]; }); }
  static V fma(V a, V b, V c) { return make([&](int i) { return a.v[i] * b.v[i] + c.v[i]; }); }
  static V max(V a, V b) { return make([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
  static V abs(V a) { return make([&](int i) { return std::fabs(a.v[i]); }); }
  static V sqrt(V a) { return make([&](int i) { return std::sqrt(a.v[i]); }); }
  static V exp(V a) { return make([&](int i) { return std::exp(a.v[i]); }); }
};
constexpr int kRings = 1;

#include "native/cpu/crf/pamr_rows_impl.h"

}  // namespace

const PamrKernels kPamrPortable = {affinity, mix};

const PamrKernels &pamr_kernels() {
#if defined(__x86_64__)
  if (cpu_isa() >= Isa::avx512) return kPamrAvx512;
  if (cpu_isa() >= Isa::avx2) return kPamrAvx2;
#endif
  return kPamrPortable;
}

}  // namespace wm
