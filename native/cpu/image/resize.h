// Internal to the resize family: the modes (kernels.md P1), the attributes of one call and the entry of each
// origin.
#pragma once

#include "native/core/op.h"

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

// Both sides of one axis. `scale` is the factor used for coordinates (out per in), 0 = from the sizes.
struct ResizeAxis {
  int64_t in;
  int64_t out;
  double scale;
};

struct ResizeSpec {
  ResizeMode mode;
  bool align_corners;
  ResizeAxis x;
  ResizeAxis y;
};

inline bool is_nearest(ResizeMode mode) {
  return mode == ResizeMode::torch_nearest || mode == ResizeMode::torch_nearest_exact ||
         mode == ResizeMode::pil_nearest || mode == ResizeMode::opencv_nearest;
}

// Rows of output a chunk: about 64 K samples, whatever the number of threads.
inline int64_t resize_row_grain(int64_t samples_per_row) {
  const int64_t rows = 65536 / (samples_per_row > 0 ? samples_per_row : 1);
  return rows > 1 ? rows : 1;
}

// torch_bilinear, torch_bicubic and opencv_linear on floating planes [planes, H, W].
void resize_planes(OpCall &call, const ResizeSpec &spec);
void resize_planes_bwd(OpCall &call, const ResizeSpec &spec);

// The nearest modes, any dtype: planes [planes, H, W] or, for u8, pixels [H, W, C].
void resize_nearest(OpCall &call, const ResizeSpec &spec, bool channels_last);

// u8 [H, W, C].
void resize_pil_u8(OpCall &call, const ResizeSpec &spec);
void resize_opencv_u8(OpCall &call, const ResizeSpec &spec);

}  // namespace wm
