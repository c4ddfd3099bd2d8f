// The modes of the resize family (kernels.md P1) and what one call asks for: the numbers that cards, CPU kernels and device
// kernels agree on.
#pragma once

#include <cstdint>

namespace wm {

// The numbers are those of `resizeModes` in lib/engine/ops/image/resize.ts.
enum class ResizeMode : int {
  torch_bilinear = 0,
  torch_bicubic = 1,
  torch_nearest = 2,
  torch_nearest_exact = 3,
  pil_bilinear = 4,
  pil_bicubic = 5,
  pil_nearest = 6,
  opencv_linear = 7,
  opencv_nearest = 8,
  opencv_area = 9,
};

constexpr int kResizeModeCount = 10;

// Both sides of one axis, 1 .. 2^30. `scale` is the factor used for coordinates (out per in), 0 = from the sizes.
struct ResizeAxis {
  int64_t in, out;
  double scale;
};

struct ResizeSpec {
  ResizeMode mode;
  bool align_corners;
  ResizeAxis x, y;
};

inline bool is_nearest(ResizeMode mode) {
  return mode == ResizeMode::torch_nearest || mode == ResizeMode::torch_nearest_exact ||
         mode == ResizeMode::pil_nearest || mode == ResizeMode::opencv_nearest;
}

}  // namespace wm
