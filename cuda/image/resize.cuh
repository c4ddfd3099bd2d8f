// Internal to the resize family: coordinate factors and the entry of each origin.
#pragma once

#include "cuda/core/op.h"
#include "native/core/resize_spec.h"

namespace wm::cuda {

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
