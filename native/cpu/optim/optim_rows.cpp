// Portable row loops of the optimisers, also those of f64, and the choice of the instruction set.
#include "native/cpu/optim/optim_rows.h"

#include <cmath>

#include "native/core/cpu_info.h"
#include "native/core/half.h"

namespace wm {

namespace {

template <class T>
void adamw(const AdamwNumbers &c, const T *grad, T *p, T *m, T *v, uint16_t *half, int64_t n) {
  const T scale = T(c.scale), b1 = T(c.beta1), b2 = T(c.beta2), r1 = T(1 - c.beta1), r2 = T(1 - c.beta2);
  const T keep = T(c.keep), rate = T(c.rate), correction = T(c.correction), eps = T(c.eps);
  for (int64_t i = 0; i < n; ++i) {
    const T g = grad[i] * scale;
    m[i] = b1 * m[i] + r1 * g;
    v[i] = b2 * v[i] + r2 * g * g;
    p[i] = keep * p[i] - rate * m[i] / (std::sqrt(v[i]) * correction + eps);
    if (half != nullptr) half[i] = to_bf16(static_cast<float>(p[i])).bits;
  }
}

template <class T>
void sgd(const SgdNumbers &c, const T *grad, T *p, T *buffer, int64_t n) {
  const T scale = T(c.scale), momentum = T(c.momentum), decay = T(c.decay), rate = T(c.rate);
  for (int64_t i = 0; i < n; ++i) {
    const T g = grad[i] * scale + decay * p[i];
    buffer[i] = momentum * buffer[i] + g;
    p[i] -= rate * (c.nesterov ? g + momentum * buffer[i] : buffer[i]);
  }
}

template <class T>
void blend(T a, T b, const T *x, T *y, int64_t n) {
  if (a == T(0)) {
    for (int64_t i = 0; i < n; ++i) y[i] = b * x[i];
  } else {
    for (int64_t i = 0; i < n; ++i) y[i] = a * y[i] + b * x[i];
  }
}

template <class T>
double sum_squares(const T *x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

template <class T>
constexpr OptimKernels<T> kPortable = {adamw<T>, sgd<T>, blend<T>, sum_squares<T>};

}  // namespace

template <>
const OptimKernels<float> &optim_kernels<float>() {
#if defined(__x86_64__)
  if (cpu_isa() >= Isa::avx512) return optim_kernels_avx512();
  if (cpu_isa() >= Isa::avx2) return optim_kernels_avx2();
#endif
  return kPortable<float>;
}

template <>
const OptimKernels<double> &optim_kernels<double>() {
  return kPortable<double>;
}

}  // namespace wm
