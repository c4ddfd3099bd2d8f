// What the convolutions of the device share: the checked problem and how an output pixel and a tap lead to a source pixel.
#pragma once

#include "cuda/core/op.h"
#include "native/core/image_checks.h"

namespace wm::cuda {

// make_conv_problem, and sizes of 32 bits.
ConvProblem conv_problem(const LaunchCall &call, int64_t batch, int64_t height, int64_t width, int64_t channels,
                         int64_t outputs, int64_t kernel_h, int64_t kernel_w, int64_t stride, int64_t padding);

// Pixel (y, x) of the result sees, under tap (i, j), source pixel ((y mul + i sign + off) / div, likewise x), if that
// divides and lies inside. Forward: mul = stride, sign = 1, off = -padding, div = 1. The gradient of the input: mul = 1,
// sign = -1, off = padding, div = stride.
struct ConvGather {
  int height, width, channels;  // of the source
  int out_h, out_w;
  int kernel_w, taps;
  int mul, sign, off, div;
};

struct ConvTerms {
  ConvGather gather;
  const void *source;  // [B, height, width, channels]
  const void *weight;  // [n, taps, channels], ordered so that k = (tap, channel) runs as in the gather
  const void *bias;    // [n] in the weight's dtype; null: none
  void *out;           // [pixels, n]
  int64_t pixels, n;   // of all images; channels of the result
  __host__ __device__ int64_t k() const { return static_cast<int64_t>(gather.taps) * gather.channels; }
};

// out = bias + gather(source) weight^T; the three dtypes f32 or bf16.
void conv_f32(LaunchCall &call, const ConvTerms &terms, DType source, DType weight, DType out);
// The same of bf16 operands on 16-byte lines by mma.sync; channels are a multiple of 8.
void conv_mma(LaunchCall &call, const ConvTerms &terms, DType out);

}  // namespace wm::cuda
