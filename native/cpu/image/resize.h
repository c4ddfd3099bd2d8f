// Internal to the resize family: chunks of rows and the entry of each origin.
#pragma once

#include "native/core/op.h"
#include "native/core/resize_spec.h"

namespace wm {

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
