// y = the inputs one behind the other along an axis; any dtype. Attribute: axis.
#include "native/cpu/shape/move.h"

namespace wm {

namespace {

void concat(OpCall &call) {
  const TensorView &out = call.out(0);
  const int axis = static_cast<int>(call.attr_int(0));
  if (axis < 0 || axis >= out.ndim) call.reject("axis %d for rank %d", axis, out.ndim);
  int64_t outer = 1, inner = static_cast<int64_t>(dtype_size(out.dtype));
  for (int d = 0; d < axis; ++d) outer *= out.shape[d];
  for (int d = axis + 1; d < out.ndim; ++d) inner *= out.shape[d];
  const int64_t pitch = out.shape[axis] * inner;
  int64_t offset = 0;
  for (int i = 0; i < call.num_inputs() && call.has(i); ++i) {
    const TensorView &in = call.in(i);
    if (in.dtype != out.dtype || in.ndim != out.ndim) call.reject("input %d has another dtype or rank", i);
    const int64_t row = in.shape[axis] * inner;
    if (in.numel() * static_cast<int64_t>(dtype_size(in.dtype)) != outer * row || offset + row > pitch) {
      call.reject("input %d does not fit the output", i);
    }
    copy_rows(call, in.data, row, out.as<uint8_t>() + offset, pitch, outer, row);
    offset += row;
  }
  if (offset != pitch) call.reject("the inputs do not fill the output");
}

}  // namespace

WM_REGISTER_CPU_OP(concat, concat, kContiguous)

}  // namespace wm
