#include "native/cpu/shape/strided.h"

namespace wm {

StridedLayout::StridedLayout(const OpCall &call, const TensorView &out,
                             std::initializer_list<const TensorView *> inputs) {
  for (const TensorView *view : inputs) {
    if (view->ndim > out.ndim) call.reject("input of rank %d for an output of rank %d", view->ndim, out.ndim);
    ++operands;
  }
  numel = out.numel();
  for (int d = 0; d < out.ndim; ++d) {
    int64_t step[kMaxOperands] = {};
    int k = 0;
    for (const TensorView *view : inputs) {
      const int source = d - (out.ndim - view->ndim);
      if (source >= 0 && view->shape[source] != 1) {
        if (view->shape[source] != out.shape[d]) call.reject("an input does not broadcast to the output");
        step[k] = view->stride[source];
      }
      ++k;
    }
    if (out.shape[d] == 1) continue;
    bool merge = ndim > 0;
    for (int i = 0; i < operands && merge; ++i) merge = stride[i][ndim - 1] == step[i] * out.shape[d];
    if (merge) {
      shape[ndim - 1] *= out.shape[d];
    } else {
      shape[ndim++] = out.shape[d];
    }
    for (int i = 0; i < operands; ++i) stride[i][ndim - 1] = step[i];
  }
  if (ndim == 0) shape[ndim++] = 1;
}

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
