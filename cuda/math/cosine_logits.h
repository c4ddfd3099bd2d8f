// The product of cosine_logits in both of its tiers.
#pragma once

#include "cuda/core/op.h"

namespace wm::cuda {

// Shorter vectors are divided by this instead, so that a zero patch gives zero logits.
constexpr float kMinCosineLength = 1e-12f;

struct CosineParams {
  const void *x;   // [batch, patches, d]
  const float *w;  // [s, d]
  float *out;      // [batch, s, patches]
  int64_t batch, patches, d, s;
  float scale;
  bool normalise, aligned;  // aligned: rows of x and w begin at 16-byte (x in bf16: 8-byte) lines
};

// out = scale <x / |x|, w> for x in bf16 on 16-byte lines, d a multiple of 8, by mma.sync.
void cosine_logits_mma(LaunchCall &call, const CosineParams &params);

}  // namespace wm::cuda
