// Internal to the resize family: the modes (kernels.md P1), the attributes of one call and the entry of each origin.
#pragma once

#include "cuda/core/op.h"

namespace wm::cuda {

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

// torch's coordinate factor in f32, the arithmetic type of the maps: (in-1)/(out-1), 1/scale or in/out.
inline float torch_factor(const ResizeAxis &axis, bool align_corners) {
  if (align_corners) return axis.out > 1 ? static_cast<float>(axis.in - 1) / static_cast<float>(axis.out - 1) : 0.0f;
  if (axis.scale > 0) return static_cast<float>(1.0 / axis.scale);
  return static_cast<float>(axis.in) / static_cast<float>(axis.out);
}

// OpenCV's: source samples per output sample, through the inverse as the origin has it.
inline double opencv_factor(const ResizeAxis &axis) {
  return 1.0 / (static_cast<double>(axis.out) / static_cast<double>(axis.in));
}

// Floating planes [..., H, W]: torch bilinear and bicubic, OpenCV linear; and the gradient of the torch modes.
void resize_planes(LaunchCall &call, const ResizeSpec &spec);
void resize_planes_bwd(LaunchCall &call, const ResizeSpec &spec);

// The nearest modes, any dtype: planes [..., H, W] or, for u8, pixels [H, W, C].
void resize_nearest(LaunchCall &call, const ResizeSpec &spec, bool channels_last);

// u8 [H, W, C].
void resize_pil_u8(LaunchCall &call, const ResizeSpec &spec);
void resize_opencv_u8(LaunchCall &call, const ResizeSpec &spec);

}  // namespace wm::cuda
