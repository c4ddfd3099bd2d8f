// Checks of calls that move and sum elements, and the few numbers that follow from them: written once for the CPU's kernels
// and the device's launchers.
#pragma once

#include <cstdlib>

#include "native/core/op_arguments.h"
#include "native/core/strided_layout.h"

namespace wm {

// sum_to: bit d set where x is summed along axis d to become like the output.
inline uint32_t read_sum_to(const OpArguments &call) {
  const TensorView &x = call.in(0), &out = call.out(0);
  const int lead = x.ndim - out.ndim;
  if (lead < 0) call.reject("rank %d cannot be summed to rank %d", x.ndim, out.ndim);
  uint32_t mask = (1u << lead) - 1u;
  for (int d = lead; d < x.ndim; ++d) {
    if (out.shape[d - lead] == x.shape[d]) continue;
    if (out.shape[d - lead] != 1) call.reject("the target does not broadcast to x");
    mask |= 1u << d;
  }
  return mask;
}

// assign: the target, which is written where it lies.
inline const TensorView &read_assign_target(const OpArguments &call) {
  const TensorView &target = call.out(0);
  if (!target.contiguous()) call.reject("the target must be contiguous");
  return target;
}

// The axis along which the source of a copy has neighbours where its last one has gaps, so that tiles are to be turned;
// -1: none.
inline int transposed_axis(const StridedLayout &layout) {
  const int last = layout.ndim - 1;
  int unit = -1;
  for (int d = 0; d < last; ++d) {
    if (layout.stride[0][d] == 1 && layout.shape[d] >= 8) unit = d;
  }
  return std::llabs(layout.stride[0][last]) > 1 && layout.shape[last] >= 8 ? unit : -1;
}

// Where x begins in the output, axis by axis.
struct PadOrigin {
  int64_t before[kMaxDims] = {};
};

// Of pad (attributes before0.. before7).
inline PadOrigin read_pad(const OpArguments &call) {
  PadOrigin origin;
  for (int d = 0; d < kMaxDims; ++d) origin.before[d] = call.attr_int(d);
  return origin;
}

// Of slice_bwd (attributes axis, begin).
inline PadOrigin read_slice_bwd(const OpArguments &call) {
  PadOrigin origin;
  const int64_t axis = call.attr_int(0);
  if (axis < 0 || axis >= call.in(0).ndim) call.reject("axis %lld", static_cast<long long>(axis));
  origin.before[axis] = call.attr_int(1);
  return origin;
}

inline void check_padded(const OpArguments &call, const TensorView &x, const TensorView &out, const int64_t *before) {
  if (x.ndim != out.ndim || x.dtype != out.dtype) call.reject("rank or dtype differs");
  for (int d = 0; d < x.ndim; ++d) {
    if (before[d] < 0 || x.shape[d] > out.shape[d] - before[d]) call.reject("x does not fit at axis %d", d);
  }
}

// concat: the output as rows of `pitch` bytes, of which input i fills row_bytes(i).
struct ConcatPlan {
  int axis;
  int64_t outer, inner, pitch;  // rows; bytes of one step along the axis; bytes of a row
  int64_t row_bytes(const TensorView &in) const { return in.shape[axis] * inner; }
};

inline ConcatPlan read_concat(const OpArguments &call) {
  const TensorView &out = call.out(0);
  ConcatPlan plan{static_cast<int>(call.attr_int(0)), 1, static_cast<int64_t>(dtype_size(out.dtype)), 0};
  if (plan.axis < 0 || plan.axis >= out.ndim) call.reject("axis %d for rank %d", plan.axis, out.ndim);
  for (int d = 0; d < plan.axis; ++d) plan.outer *= out.shape[d];
  for (int d = plan.axis + 1; d < out.ndim; ++d) plan.inner *= out.shape[d];
  plan.pitch = out.shape[plan.axis] * plan.inner;
  int64_t offset = 0;
  for (int i = 0; i < call.num_inputs() && call.has(i); ++i) {
    const TensorView &in = call.in(i);
    if (in.dtype != out.dtype || in.ndim != out.ndim) call.reject("input %d has another dtype or rank", i);
    const int64_t row = plan.row_bytes(in);
    if (static_cast<int64_t>(in.bytes()) != plan.outer * row || row > plan.pitch - offset) {
      call.reject("input %d does not fit the output", i);
    }
    offset += row;
  }
  if (offset != plan.pitch) call.reject("the inputs do not fill the output");
  return plan;
}

// class_token_embed: patches [N, P, D], token [D], positions [1 + P, D] and the output fit each other.
inline void check_class_token_embed(const OpArguments &call) {
  const TensorView &patches = call.in(0), &token = call.in(1), &positions = call.in(2), &out = call.out(0);
  if (patches.ndim != 3) call.reject("patches must be [N, P, D]");
  const int64_t rows = patches.shape[1] + 1, width = patches.shape[2];
  if (token.numel() != width || positions.numel() != rows * width) call.reject("token or positions do not fit");
  if (token.dtype != patches.dtype || positions.dtype != patches.dtype || out.dtype != patches.dtype) {
    call.reject("dtypes differ");
  }
  if (out.numel() != patches.shape[0] * rows * width) call.reject("output size");
}

// upsample_nearest: sizes of the small map.
struct UpsampleMaps {
  int64_t batch, height, width, channels, factor;
};

inline UpsampleMaps read_upsample(const OpArguments &call, const TensorView &small, const TensorView &large) {
  const int64_t f = call.attr_int(0);
  if (f < 1 || f > 64 || small.ndim != 4 || large.ndim != 4 || small.dtype != large.dtype)
    call.reject("needs two maps [B, H, W, C] of one dtype and a factor of 1 to 64");
  const UpsampleMaps m{small.dim(0), small.dim(1), small.dim(2), small.dim(3), f};
  if (large.dim(0) != m.batch || large.dim(1) != m.height * f || large.dim(2) != m.width * f || large.dim(3) != m.channels)
    call.reject("the large map must be %lld times the small one", static_cast<long long>(f));
  return m;
}

// attention_bwd: input i, if given, is [a, b, c, d] (d < 0: [a, b, c]) of the dtype.
inline void check_gradient_input(const OpArguments &call, int i, const char *what, int64_t a, int64_t b, int64_t c,
                                 int64_t d, DType dtype) {
  if (!call.has(i)) return;
  const TensorView &t = call.in(i);
  const int64_t shape[4] = {a, b, c, d};
  bool ok = t.dtype == dtype && t.ndim == (d < 0 ? 3 : 4);
  for (int axis = 0; ok && axis < t.ndim; ++axis) ok = t.shape[axis] == shape[axis];
  if (!ok) call.reject("%s has the wrong shape or dtype", what);
}

}  // namespace wm
