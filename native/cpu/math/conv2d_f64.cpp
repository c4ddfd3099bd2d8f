// The convolutions in f64, for gradient checks: plain loops, sums in the order tap row, tap column, channel or pixel.
#include "native/cpu/math/conv2d.h"

namespace wm {

namespace {

int64_t weight_at(const ConvProblem &p, int64_t o, int64_t c, int64_t ky, int64_t kx) {
  return ((o * p.channels + c) * p.kernel_h + ky) * p.kernel_w + kx;
}

int64_t pixel_at(int64_t b, int64_t y, int64_t x, int64_t height, int64_t width) {
  return (b * height + y) * width + x;
}

// Row of the input that tap k of output row i reads, or -1 in the border.
int64_t source(int64_t i, int64_t k, int64_t stride, int64_t padding, int64_t size) {
  const int64_t at = i * stride + k - padding;
  return at < size ? at : -1;
}

// body(pixel of the output, pixel of the input, tap) for all pairs under one output pixel (b, y, x).
template <class F>
void each_tap(const ConvProblem &p, int64_t b, int64_t y, int64_t x, F &&body) {
  for (int64_t ky = 0; ky < p.kernel_h; ++ky) {
    const int64_t iy = source(y, ky, p.stride, p.padding, p.height);
    for (int64_t kx = 0; iy >= 0 && kx < p.kernel_w; ++kx) {
      const int64_t ix = source(x, kx, p.stride, p.padding, p.width);
      if (ix >= 0) body(pixel_at(b, iy, ix, p.height, p.width), ky, kx);
    }
  }
}

template <class F>
void each_output(const ConvProblem &p, F &&body) {
  for (int64_t i = 0; i < p.batch * p.out_pixels(); ++i)
    body(i, i / p.out_pixels(), i / p.out_w % p.out_h, i % p.out_w);
}

}  // namespace

void conv2d_f64(OpCall &call, const ConvProblem &p) {
  const double *x = call.in(0).as<double>(), *weight = call.in(1).as<double>();
  const double *bias = call.has(2) ? call.in(2).as<double>() : nullptr;
  double *out = call.out(0).as<double>();
  each_output(p, [&](int64_t i, int64_t b, int64_t oy, int64_t ox) {
    for (int64_t o = 0; o < p.outputs; ++o) {
      double sum = 0.0;
      each_tap(p, b, oy, ox, [&](int64_t pixel, int64_t ky, int64_t kx) {
        for (int64_t c = 0; c < p.channels; ++c)
          sum += x[pixel * p.channels + c] * weight[weight_at(p, o, c, ky, kx)];
      });
      out[i * p.outputs + o] = bias == nullptr ? sum : sum + bias[o];
    }
  });
}

void conv2d_bwd_input_f64(OpCall &call, const ConvProblem &p) {
  const double *dy = call.in(0).as<double>(), *weight = call.in(1).as<double>();
  double *dx = call.out(0).as<double>();
  for (int64_t i = 0; i < p.batch * p.in_pixels() * p.channels; ++i) dx[i] = 0.0;
  each_output(p, [&](int64_t i, int64_t b, int64_t oy, int64_t ox) {
    each_tap(p, b, oy, ox, [&](int64_t pixel, int64_t ky, int64_t kx) {
      for (int64_t o = 0; o < p.outputs; ++o) {
        for (int64_t c = 0; c < p.channels; ++c)
          dx[pixel * p.channels + c] += dy[i * p.outputs + o] * weight[weight_at(p, o, c, ky, kx)];
      }
    });
  });
}

void conv2d_bwd_weight_f64(OpCall &call, const ConvProblem &p) {
  const double *x = call.in(0).as<double>(), *dy = call.in(1).as<double>();
  double *dweight = call.out(0).as<double>();
  for (int64_t i = 0; i < p.outputs * p.channels * p.taps(); ++i) dweight[i] = 0.0;
  each_output(p, [&](int64_t i, int64_t b, int64_t oy, int64_t ox) {
    each_tap(p, b, oy, ox, [&](int64_t pixel, int64_t ky, int64_t kx) {
      for (int64_t o = 0; o < p.outputs; ++o) {
        for (int64_t c = 0; c < p.channels; ++c)
          dweight[weight_at(p, o, c, ky, kx)] += dy[i * p.outputs + o] * x[pixel * p.channels + c];
      }
    });
  });
}

}  // namespace wm
