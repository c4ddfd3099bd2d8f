#include "native/cpu/shape/strided.h"

namespace wm {

StridedCursor::StridedCursor(const StridedLayout &layout, int64_t linear)
    : layout_(layout), inner_(layout.ndim - 1), inner_size_(layout.shape[layout.ndim - 1]) {
  for (int d = inner_; d >= 0; --d) {
    if (layout.shape[d] == 0) return;
    index_[d] = linear % layout.shape[d];
    linear /= layout.shape[d];
    for (int k = 0; k < layout.operands; ++k) offset_[k] += index_[d] * layout.stride[k][d];
  }
}

void StridedCursor::advance(int64_t n) {
  index_[inner_] += n;
  for (int k = 0; k < layout_.operands; ++k) offset_[k] += n * layout_.stride[k][inner_];
  for (int d = inner_; d > 0 && index_[d] == layout_.shape[d]; --d) {
    index_[d] = 0;
    ++index_[d - 1];
    for (int k = 0; k < layout_.operands; ++k) {
      offset_[k] += layout_.stride[k][d - 1] - layout_.shape[d] * layout_.stride[k][d];
    }
  }
}

}  // namespace wm
