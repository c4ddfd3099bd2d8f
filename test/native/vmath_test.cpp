// Vector maths against the C library in f64, over floats of every exponent and sign: relative error at most
// 2e-7 where the result is a normal f32, exact limits elsewhere. The three GELU forms are judged against
// max(1, |x f(x)|), because their left tail is far below anything it is added to.
#include <cmath>
#include <cstdio>
#include <limits>

#include "native/core/cpu_info.h"
#include "native/core/half.h"
#include "test/native/check.h"
#include "test/native/vmath.h"

using namespace wm;
using wm::test::VectorFunctions;

namespace {

constexpr double kLimit = 2e-7;
constexpr double kSmallestNormal = 1.1754943508222875e-38;
constexpr double kLargest = 3.4028234663852886e38;

// Not a multiple of anything in a float's layout, so that all exponents and both signs see varied mantissas.
constexpr uint64_t kStep = 4099;

double error_of(float y, double wanted, double floor) {
  if (std::isnan(wanted) || std::isnan(y)) return std::isnan(wanted) && std::isnan(y) ? 0.0 : HUGE_VAL;
  if (static_cast<double>(y) == wanted || y == static_cast<float>(wanted)) return 0.0;
  if (std::fabs(wanted) < kSmallestNormal) return std::fabs(y) <= kSmallestNormal ? 0.0 : HUGE_VAL;
  if (std::isinf(y)) return std::fabs(wanted) > kLargest ? 0.0 : HUGE_VAL;
  return std::fabs(y - wanted) / std::fmax(std::fabs(wanted), floor);
}

double worst_error(VectorFunctions::Function function, double (*reference)(double), double floor) {
  double worst = 0.0;
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 16 * kStep) {
    float x[16], y[16];
    for (uint64_t i = 0; i < 16; ++i) x[i] = float_from_bits(static_cast<uint32_t>(bits + i * kStep));
    function(x, y);
    for (int i = 0; i < 16; ++i) {
      // An infinite argument of the GELU forms is inf times zero.
      if (floor > 0.0 && !std::isfinite(x[i])) continue;
      worst = std::fmax(worst, error_of(y[i], reference(static_cast<double>(x[i])), floor));
    }
  }
  return worst;
}

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double gelu(double x) { return 0.5 * x * std::erfc(-x * 0.70710678118654752440); }
double gelu_tanh(double x) { return x * sigmoid(1.5957691216057307 * (x + 0.044715 * x * x * x)); }
double quick_gelu(double x) { return x * sigmoid(1.702 * x); }

bool near(const char *name, VectorFunctions::Function function, double (*reference)(double),
          double floor = 0.0) {
  const double worst = worst_error(function, reference, floor);
  if (worst > kLimit) std::printf("%s: worst error %g\n", name, worst);
  return worst <= kLimit;
}

bool all_near(const VectorFunctions &f) {
  bool ok = near("exp", f.exp, std::exp);
  ok = near("exp2", f.exp2, std::exp2) && ok;
  ok = near("log", f.log, std::log) && ok;
  ok = near("sigmoid", f.sigmoid, sigmoid) && ok;
  ok = near("erf", f.erf, std::erf) && ok;
  ok = near("tanh", f.tanh, std::tanh) && ok;
  ok = near("gelu", f.gelu, gelu, 1.0) && ok;
  ok = near("gelu_tanh", f.gelu_tanh, gelu_tanh, 1.0) && ok;
  return near("quick_gelu", f.quick_gelu, quick_gelu, 1.0) && ok;
}

bool limits_hold(const VectorFunctions &f) {
  const float inf = std::numeric_limits<float>::infinity();
  const float x[16] = {-inf, inf, -1e30f, 1e30f, 0.0f, -0.0f, -90.0f, 90.0f};
  float y[16];
  f.exp(x, y);
  const bool exp_ok = y[0] == 0.0f && y[1] == inf && y[2] == 0.0f && y[3] == inf && y[4] == 1.0f &&
                      y[5] == 1.0f && y[6] == 0.0f && y[7] == inf;
  f.tanh(x, y);
  return exp_ok && y[0] == -1.0f && y[1] == 1.0f && y[4] == 0.0f;
}

}  // namespace

WM_TEST(avx2_is_accurate) {
  if (cpu_isa() < Isa::avx2) return;
  WM_CHECK(all_near(wm::test::vector_functions_avx2()));
  WM_CHECK(limits_hold(wm::test::vector_functions_avx2()));
}

WM_TEST(avx512_is_accurate) {
  if (cpu_isa() < Isa::avx512) return;
  WM_CHECK(all_near(wm::test::vector_functions_avx512()));
  WM_CHECK(limits_hold(wm::test::vector_functions_avx512()));
}
