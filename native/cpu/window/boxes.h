// Window boxes i32 [N, 4] of (y1, x1, y2, x2), end exclusive: checked once before anything indexes with them.
#pragma once

#include "native/core/op.h"
#include "native/core/refused_values.h"

namespace wm {

// All boxes must be `height` x `width` and lie inside a canvas of canvas_height x canvas_width.
inline const Box *checked_boxes(const OpCall &call, const TensorView &boxes, int64_t height, int64_t width,
                                int64_t canvas_height, int64_t canvas_width) {
  if (boxes.dtype != DType::i32 || boxes.ndim != 2 || boxes.dim(1) != 4)
    call.reject("boxes must be i32 [N, 4]");
  const Box *box = boxes.as<Box>();
  for (int64_t n = 0; n < boxes.dim(0); ++n) {
    const Box b = box[n];
    if (b.y1 < 0 || b.x1 < 0 || b.y2 > canvas_height || b.x2 > canvas_width ||
        b.y2 - int64_t{b.y1} != height || b.x2 - int64_t{b.x1} != width) {
      call.reject(refused_box(n, b, height, width, canvas_height, canvas_width));
    }
  }
  return box;
}

}  // namespace wm
