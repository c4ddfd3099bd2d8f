// The 256 values a normalised 8-bit sample can take, per channel: exactly (float(v) - mean) / std in f32, or
// (float(v) / 255 - mean) / std. A table makes the exact division free.
#pragma once

#include "native/core/op.h"
#include "native/core/refused_values.h"

namespace wm {

struct NormaliseTable {
  float value[3][256];
};

inline NormaliseTable make_normalise_table(const OpCall &call, const TensorView &mean, const TensorView &std,
                                           bool unit) {
  if (mean.dtype != DType::f32 || std.dtype != DType::f32 || mean.numel() != 3 || std.numel() != 3) {
    call.reject("mean and std must be f32 [3]");
  }
  NormaliseTable table;
  for (int c = 0; c < 3; ++c) {
    const float m = mean.as<float>()[c], s = std.as<float>()[c];
    if (!(s > 0)) call.reject(refused_std(s, c));
    for (int v = 0; v < 256; ++v) {
      const float x = unit ? static_cast<float>(v) / 255.0f : static_cast<float>(v);
      table.value[c][v] = (x - m) / s;
    }
  }
  return table;
}

}  // namespace wm
