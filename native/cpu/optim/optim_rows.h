// Row loops of the optimisers over contiguous memory, one table an instruction set. All but sum_squares are elementwise,
// so any cut of the rows gives the same bits.
#pragma once

#include <cstdint>

namespace wm {

// One AdamW step (Loshchilov & Hutter, arXiv 1711.05101, algorithm 2) with the bias corrections folded into numbers:
//   g = scale grad;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   p = keep p - rate m / (sqrt(v) correction + eps)
// with keep = 1 - lr decay, rate = lr / (1 - beta1^t), correction = 1 / sqrt(1 - beta2^t).
struct AdamwNumbers {
  double scale, beta1, beta2, keep, rate, correction, eps;
};

// One step of stochastic gradient descent with momentum, decay added to the gradient:
//   g = scale grad + decay p;  b = momentum b + g;  p = p - rate (nesterov ? g + momentum b : b)
struct SgdNumbers {
  double scale, momentum, decay, rate;
  bool nesterov;
};

template <class T>
struct OptimKernels {
  // half, if given, receives p rounded to bf16.
  void (*adamw)(const AdamwNumbers &c, const T *grad, T *p, T *m, T *v, uint16_t *half, int64_t n);
  void (*sgd)(const SgdNumbers &c, const T *grad, T *p, T *buffer, int64_t n);
  // y = a y + b x; a = 0 does not read y.
  void (*blend)(T a, T b, const T *x, T *y, int64_t n);
  // Squares and sum in f64: finite for all finite f32.
  double (*sum_squares)(const T *x, int64_t n);
};

// T: float or double
template <class T>
const OptimKernels<T> &optim_kernels();

const OptimKernels<float> &optim_kernels_avx2();
const OptimKernels<float> &optim_kernels_avx512();

}  // namespace wm
