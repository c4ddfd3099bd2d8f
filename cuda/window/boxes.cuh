// Window boxes i32 [N, 4] of (y1, x1, y2, x2), end exclusive. They lie on the device: a kernel tests each before it indexes
// with it and refuses one that does not fit, whose window comes out as NaN.
#pragma once

#include "cuda/core/op.h"

namespace wm::cuda {

__device__ __forceinline__ Box load_box(const int *boxes, int64_t n) {
  const int *b = boxes + 4 * n;
  return {__ldg(b), __ldg(b + 1), __ldg(b + 2), __ldg(b + 3)};
}

__device__ __forceinline__ bool box_fits(const Box &b, int64_t height, int64_t width, int64_t canvas_height,
                                         int64_t canvas_width) {
  return b.y1 >= 0 && b.x1 >= 0 && b.y2 <= canvas_height && b.x2 <= canvas_width && b.y2 - int64_t{b.y1} == height &&
         b.x2 - int64_t{b.x1} == width;
}

inline void check_boxes(const LaunchCall &call, const TensorView &boxes) {
  if (boxes.dtype != DType::i32 || boxes.ndim != 2 || boxes.dim(1) != 4) call.reject("boxes must be i32 [N, 4]");
}

}  // namespace wm::cuda
