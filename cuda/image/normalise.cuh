// The deviations that pixels are divided by: f32 [3] on the device, each of which must be positive.
#pragma once

#include "cuda/image/rows.cuh"

namespace wm::cuda {

inline Refusal refusal_of_std(LaunchCall &call) {
  return call.refuses_values([](const RefusedValue &seen) {
    float value;
    std::memcpy(&value, &seen.value[0], sizeof value);
    return refused_std(value, seen.position);
  });
}

// By three threads of a block or more.
__device__ __forceinline__ void refuse_std(const float *std, const Refusal &refusal) {
  const int c = static_cast<int>(threadIdx.x);
  if (c < 3 && !(std[c] > 0.0f)) refusal.at(c, __float_as_int(std[c]));
}

}  // namespace wm::cuda
