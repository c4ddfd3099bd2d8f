// The portable tables (f32, f64) and the choice of table.
#include "native/cpu/simd/vector_ops.h"

#include <algorithm>
#include <cmath>

#include "native/core/cpu_info.h"
#include "native/core/half.h"

namespace wm {

namespace {

// Eight lanes as an array: short loops that a compiler turns into whatever the base instruction set has.
template <class Element>
struct PlainVector {
  using Scalar = Element;
  using T = Element;
  static constexpr int64_t kWidth = 8;
  struct F {
    T v[8];
  };

  template <class Fn>
  static F map(F x, Fn fn) {
    F y;
    for (int i = 0; i < 8; ++i) y.v[i] = fn(x.v[i]);
    return y;
  }
  template <class Fn>
  static F map(F a, F b, Fn fn) {
    F y;
    for (int i = 0; i < 8; ++i) y.v[i] = fn(a.v[i], b.v[i]);
    return y;
  }

  static F load(const T *x) {
    F y;
    for (int i = 0; i < 8; ++i) y.v[i] = x[i];
    return y;
  }
  static F load_part(const T *x, int64_t n) {
    F y = set(T(0));
    for (int64_t i = 0; i < n; ++i) y.v[i] = x[i];
    return y;
  }
  static void store(T *x, F v) { store_part(x, 8, v); }
  static void store_part(T *x, int64_t n, F v) {
    for (int64_t i = 0; i < n; ++i) x[i] = v.v[i];
  }
  static F keep_part(F x, int64_t n, T fill) {
    for (int64_t i = n; i < 8; ++i) x.v[i] = fill;
    return x;
  }

  static F set(T x) { return {{x, x, x, x, x, x, x, x}}; }
  static F add(F a, F b) { return map(a, b, [](T p, T q) { return p + q; }); }
  static F sub(F a, F b) { return map(a, b, [](T p, T q) { return p - q; }); }
  static F mul(F a, F b) { return map(a, b, [](T p, T q) { return p * q; }); }
  static F div(F a, F b) { return map(a, b, [](T p, T q) { return p / q; }); }
  static F fma(F a, F b, F c) { return add(mul(a, b), c); }
  static T max1(T p, T q) { return p > q || p != p ? p : q; }
  static T min1(T p, T q) { return p < q || p != p ? p : q; }
  static F max(F a, F b) { return map(a, b, max1); }
  static F min(F a, F b) { return map(a, b, min1); }
  static F relu(F x) { return map(x, [](T p) { return p > 0 || p != p ? p : T(0); }); }
  static F neg(F x) { return map(x, [](T p) { return -p; }); }
  static F abs(F x) { return map(x, [](T p) { return std::abs(p); }); }
  static F sqrt(F x) { return map(x, [](T p) { return std::sqrt(p); }); }
  static F exp(F x) { return map(x, [](T p) { return std::exp(p); }); }
  static F log(F x) { return map(x, [](T p) { return std::log(p); }); }
  static T sigmoid1(T p) { return T(1) / (T(1) + std::exp(-p)); }
  static T normal_cdf1(T p) { return T(0.5) * std::erfc(p * T(-0.7071067811865476)); }
  static F sigmoid(F x) { return map(x, sigmoid1); }
  static F tanh(F x) { return map(x, [](T p) { return std::tanh(p); }); }
  static F normal_cdf(F x) { return map(x, normal_cdf1); }
  static F gelu(F x) { return map(x, [](T p) { return p * normal_cdf1(p); }); }
  static F gelu_tanh(F x) {
    return map(x, [](T p) { return p * sigmoid1(p * (T(1.5957691216057308) + T(0.07135481627159905) * p * p)); });
  }
  static F quick_gelu(F x) { return map(x, [](T p) { return p * sigmoid1(T(1.702) * p); }); }
  static F is_positive(F x) { return map(x, [](T p) { return p > 0 ? T(1) : T(0); }); }
  static F sign(F x) { return map(x, [](T p) { return p > 0 ? T(1) : p < 0 ? T(-1) : T(0); }); }
  static F is_between(F x, F a, F b) {
    F y;
    for (int i = 0; i < 8; ++i) y.v[i] = x.v[i] >= a.v[i] && x.v[i] <= b.v[i] ? T(1) : T(0);
    return y;
  }
  static T sum_lanes(F x) { return ((x.v[0] + x.v[4]) + (x.v[2] + x.v[6])) + ((x.v[1] + x.v[5]) + (x.v[3] + x.v[7])); }
  static T max_lanes(F x) {
    T best = x.v[0];
    for (int i = 1; i < 8; ++i) best = max1(best, x.v[i]);
    return best;
  }
  static T min_lanes(F x) {
    T best = x.v[0];
    for (int i = 1; i < 8; ++i) best = min1(best, x.v[i]);
    return best;
  }
};

#include "native/cpu/simd/vector_ops_impl.h"

void bf16_to_f32(const uint16_t *x, float *y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = to_float(bf16{x[i]});
}
void f32_to_bf16(const float *x, uint16_t *y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = to_bf16(x[i]).bits;
}
void f16_to_f32(const uint16_t *x, float *y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = to_float(f16{x[i]});
}
void f32_to_f16(const float *x, uint16_t *y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = to_f16(x[i]).bits;
}

}  // namespace

const VectorOps<float> kVectorOpsScalar = make_vector_ops<PlainVector<float>>();
const VectorOps<double> kVectorOpsDouble = make_vector_ops<PlainVector<double>>();
const ConvertOps kConvertScalar = {bf16_to_f32, f32_to_bf16, f16_to_f32, f32_to_f16};

template <>
const VectorOps<float> &vector_ops<float>() {
#if defined(__x86_64__)
  if (cpu_isa() >= Isa::avx512) return kVectorOpsAvx512;
  if (cpu_isa() >= Isa::avx2) return kVectorOpsAvx2;
#endif
  return kVectorOpsScalar;
}

template <>
const VectorOps<double> &vector_ops<double>() {
  return kVectorOpsDouble;
}

const ConvertOps &convert_ops() {
#if defined(__x86_64__)
  if (cpu_isa() >= Isa::avx512) return kConvertAvx512;
  if (cpu_isa() >= Isa::avx2) return kConvertAvx2;
#endif
  return kConvertScalar;
}

}  // namespace wm
