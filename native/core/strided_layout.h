// Several strided, broadcast operands over the common shape of an output, reduced to as few dimensions as they allow.
// Shared by the CPU's cursor (native/cpu/shape/strided.h) and the devices' index (cuda/core/strided.cuh).
#pragma once

#include <cstdint>
#include <initializer_list>

#include "native/core/tensor_view.h"

namespace wm {

// The common shape with size-1 dimensions dropped and neighbours merged wherever every operand allows it, so that
// most calls come down to one or two dimensions. A broadcast dimension has stride 0.
struct StridedLayout {
  static constexpr int kMaxOperands = 3;

  int ndim = 0;
  int operands = 0;
  int64_t numel = 1;
  int64_t shape[kMaxDims] = {};
  int64_t stride[kMaxOperands][kMaxDims] = {};

  // Rejects the call (an OpCall or a device's LaunchCall) where an operand does not broadcast to `out`.
  template <class Call>
  StridedLayout(const Call &call, const TensorView &out, std::initializer_list<const TensorView *> inputs);

 private:
  void append(int64_t size, const int64_t *step);
};

template <class Call>
StridedLayout::StridedLayout(const Call &call, const TensorView &out,
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
    if (out.shape[d] != 1) append(out.shape[d], step);
  }
  if (ndim == 0) shape[ndim++] = 1;
}

// One more dimension inside the others, merged into the last one where every operand's strides allow it.
inline void StridedLayout::append(int64_t size, const int64_t *step) {
  bool merge = ndim > 0;
  for (int i = 0; i < operands && merge; ++i) merge = stride[i][ndim - 1] == step[i] * size;
  if (merge) {
    shape[ndim - 1] *= size;
  } else {
    shape[ndim++] = size;
  }
  for (int i = 0; i < operands; ++i) stride[i][ndim - 1] = step[i];
}

}  // namespace wm
