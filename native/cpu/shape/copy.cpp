// y = x made contiguous, any strides and dtype; assign(target, source) writes a source of the same shape into target's
// memory. Where x's unit stride lies in another dimension than the last, both are walked in square tiles, so that each
// cache line fetched is used up.
#include <cstdlib>

#include "native/core/shape_checks.h"
#include "native/cpu/shape/move.h"
#include "native/cpu/shape/strided.h"

namespace wm {

namespace {

constexpr int64_t kTile = 32;

template <class T>
void copy_elements(const OpCall &call, const TensorView &in, const StridedLayout &layout, T *out) {
  const T *base = in.as<T>();
  call.parallel(layout.numel, kElementGrain, [&](int64_t begin, int64_t end) {
    StridedCursor cursor(layout, begin);
    while (begin < end) {
      const int64_t n = cursor.row_left() < end - begin ? cursor.row_left() : end - begin;
      const T *row = base + cursor.offset(0);
      const int64_t stride = cursor.inner_stride(0);
      if (stride == 1) {
        std::memcpy(out + begin, row, static_cast<size_t>(n) * sizeof(T));
      } else {
        for (int64_t i = 0; i < n; ++i) out[begin + i] = row[i * stride];
      }
      cursor.advance(n);
      begin += n;
    }
  });
}

// Rows of `layout` run along dimension `unit` in the input and along the last one in the output.
template <class T>
void copy_transposed(const OpCall &call, const TensorView &in, const StridedLayout &layout, int unit, T *out) {
  const int last = layout.ndim - 1;
  const int64_t rows = layout.shape[unit], columns = layout.shape[last];
  const int64_t column_step = layout.stride[0][last];
  int64_t row_step = 1;
  for (int d = unit + 1; d <= last; ++d) row_step *= layout.shape[d];
  const int64_t row_tiles = (rows + kTile - 1) / kTile, column_tiles = (columns + kTile - 1) / kTile;
  const int64_t batches = layout.numel / (rows * columns), tiles = row_tiles * column_tiles;
  call.parallel(batches * tiles, kElementGrain / (kTile * kTile), [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      int64_t source = 0, target = 0, rest = item / tiles, step = 1;
      for (int d = last; d >= 0; --d) {
        if (d != last && d != unit) {
          source += rest % layout.shape[d] * layout.stride[0][d];
          target += rest % layout.shape[d] * step;
          rest /= layout.shape[d];
        }
        step *= layout.shape[d];
      }
      const int64_t r0 = item % tiles / column_tiles * kTile, c0 = item % column_tiles * kTile;
      const int64_t r1 = r0 + kTile < rows ? r0 + kTile : rows, c1 = c0 + kTile < columns ? c0 + kTile : columns;
      const T *from = in.as<T>() + source;
      for (int64_t r = r0; r < r1; ++r) {
        for (int64_t c = c0; c < c1; ++c) out[target + r * row_step + c] = from[r + c * column_step];
      }
    }
  });
}

void copy_into(const OpCall &call, const TensorView &in, const TensorView &out) {
  if (in.dtype != out.dtype) call.reject("dtypes differ");
  const StridedLayout layout(call, out, {&in});
  if (layout.numel == 0) return;
  const int unit = transposed_axis(layout);
  dispatch_size(call, in.dtype, [&](auto zero) {
    using T = decltype(zero);
    if (unit >= 0) copy_transposed(call, in, layout, unit, out.as<T>());
    else copy_elements(call, in, layout, out.as<T>());
  });
}

void copy(OpCall &call) { copy_into(call, call.in(0), call.out(0)); }

void assign(OpCall &call) { copy_into(call, call.in(1), read_assign_target(call)); }

}  // namespace

WM_REGISTER_CPU_OP(copy, copy, kStrided)
WM_REGISTER_CPU_OP(assign, assign, kStrided | kInPlace)

}  // namespace wm
