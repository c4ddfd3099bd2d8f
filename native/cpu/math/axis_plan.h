// A contiguous tensor seen from one axis: [outer, length, inner].
#pragma once

#include "native/core/op.h"

namespace wm {

struct AxisPlan {
  int64_t outer = 1, length = 1, inner = 1;
  bool empty() const { return outer == 0 || length == 0 || inner == 0; }
  // Columns worked at a time where inner > 1: 64 KiB of f32 in all, at least one cache line, at most 512.
  int64_t tile() const {
    const int64_t columns = 16384 / (length < 1 ? 1 : length) / 16 * 16;
    return columns < 16 ? 16 : columns > 512 ? 512 : columns;
  }
  int64_t tiles() const { return (inner + tile() - 1) / tile(); }
};

inline AxisPlan plan_axis(const OpCall &call, const TensorView &x, int64_t axis) {
  if (axis < 0 || axis >= x.ndim) call.reject("axis %lld for rank %d", static_cast<long long>(axis), x.ndim);
  AxisPlan plan;
  plan.length = x.shape[axis];
  for (int d = 0; d < axis; ++d) plan.outer *= x.shape[d];
  for (int d = static_cast<int>(axis) + 1; d < x.ndim; ++d) plan.inner *= x.shape[d];
  return plan;
}

}  // namespace wm
