// The product behind conv2d_bwd_weight: sums[part][tap, c][o] = sum over the part's pixels p of
// x[gather(p, tap), c] dy[p, o].
#pragma once

#include "cuda/math/conv2d.h"

namespace wm::cuda {

struct ConvWeightTerms {
  ConvGather gather;
  const void *x;   // [B, height, width, channels]
  const void *dy;  // [pixels, n]
  float *sums;     // [parts, taps, channels, n]
  int64_t pixels, n, part_pixels, parts;
};

// bf16 operands on 16-byte lines; channels and n are multiples of 8.
void conv_weight_mma(LaunchCall &call, const ConvWeightTerms &terms);

}  // namespace wm::cuda
