// pad: x with zeros before and after each axis (attributes before0..before7, after0..after7); slice_bwd: dy at rows
// begin.. of an axis of `length` zeros (attributes axis, begin, length). Any dtype.
#include "native/core/shape_checks.h"
#include "native/cpu/shape/move.h"

namespace wm {

namespace {

void place(const OpCall &call, const TensorView &x, const TensorView &out, const int64_t *before) {
  check_padded(call, x, out, before);
  const auto size = static_cast<int64_t>(dtype_size(x.dtype));
  int last = 0;  // rows reach from the last padded axis to the end
  for (int d = 0; d < x.ndim; ++d) {
    if (out.shape[d] != x.shape[d]) last = d;
  }
  if (x.numel() != out.numel()) zero_bytes(call, out.data, static_cast<int64_t>(out.bytes()));
  if (x.numel() == 0) return;
  int64_t row = size, out_step[kMaxDims] = {}, origin = 0, step = size;
  for (int d = x.ndim - 1; d >= 0; --d) {
    if (d >= last) row *= x.shape[d];
    out_step[d] = step;
    origin += before[d] * step;
    step *= out.shape[d];
  }
  const int64_t rows = x.numel() * size / row;
  auto *to = out.as<uint8_t>() + origin;
  call.parallel(rows, 64 * 1024 / row + 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      int64_t rest = r, at = 0;
      for (int d = last - 1; d >= 0; --d) {
        at += rest % x.shape[d] * out_step[d];
        rest /= x.shape[d];
      }
      std::memcpy(to + at, x.as<uint8_t>() + r * row, static_cast<size_t>(row));
    }
  });
}

void pad(OpCall &call) { place(call, call.in(0), call.out(0), read_pad(call).before); }
void slice_bwd(OpCall &call) { place(call, call.in(0), call.out(0), read_slice_bwd(call).before); }

}  // namespace

WM_REGISTER_CPU_OP(pad, pad, kContiguous)
WM_REGISTER_CPU_OP(slice_bwd, slice_bwd, kContiguous)

}  // namespace wm
