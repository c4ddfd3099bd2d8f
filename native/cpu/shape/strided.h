// Walking several strided, broadcast operands in the row-major order of their common shape.
#pragma once

#include <cstdint>
#include <type_traits>

#include "native/core/op.h"
#include "native/core/strided_layout.h"
#include "native/cpu/simd/vector_ops.h"

namespace wm {

// A position in a StridedLayout with the element offset of each operand.
class StridedCursor {
 public:
  StridedCursor(const StridedLayout &layout, int64_t linear);

  int64_t offset(int operand) const { return offset_[operand]; }
  // Elements from here to the end of the innermost row.
  int64_t row_left() const { return inner_size_ - index_[inner_]; }
  int64_t inner_stride(int operand) const { return layout_.stride[operand][inner_]; }
  // n <= row_left()
  void advance(int64_t n);

 private:
  const StridedLayout &layout_;
  int inner_;
  int64_t inner_size_;
  int64_t index_[kMaxDims] = {};
  int64_t offset_[StridedLayout::kMaxOperands] = {};
};

// The type arithmetic is done in: f32 for two-byte floats, else the type itself.
template <class T>
using ComputeType = std::conditional_t<std::is_same_v<T, bf16> || std::is_same_v<T, f16>, float, T>;

// Elements an elementwise kernel handles at a time: operand buffers of this size stay in the first-level cache.
constexpr int64_t kBlock = 1024;
// Elements a parallel chunk takes.
constexpr int64_t kElementGrain = 32 * kBlock;

// Contiguous values, or one value for all (step 0).
template <class T>
struct Operand {
  const T *data;
  int64_t step;
};

inline void widen(const bf16 *x, float *y, int64_t n) {
  convert_ops().bf16_to_f32(reinterpret_cast<const uint16_t *>(x), y, n);
}
inline void widen(const f16 *x, float *y, int64_t n) {
  convert_ops().f16_to_f32(reinterpret_cast<const uint16_t *>(x), y, n);
}
inline void narrow(const float *x, bf16 *y, int64_t n) {
  convert_ops().f32_to_bf16(x, reinterpret_cast<uint16_t *>(y), n);
}
inline void narrow(const float *x, f16 *y, int64_t n) {
  convert_ops().f32_to_f16(x, reinterpret_cast<uint16_t *>(y), n);
}

// The next `n` elements of an operand, read in place where they are one row of stride 0 or 1 in the compute type,
// else copied (and widened) to `buffer` [kBlock].
template <class T>
Operand<ComputeType<T>> fetch(const T *base, const StridedCursor &at, int operand, int64_t n, ComputeType<T> *buffer) {
  constexpr bool direct = std::is_same_v<T, ComputeType<T>>;
  if (at.row_left() >= n) {
    const T *row = base + at.offset(operand);
    const int64_t stride = at.inner_stride(operand);
    if constexpr (direct) {
      if (stride == 0 || stride == 1) return {row, stride};
      for (int64_t i = 0; i < n; ++i) buffer[i] = row[i * stride];
    } else {
      if (stride == 1) {
        widen(row, buffer, n);
      } else if (stride == 0) {
        buffer[0] = to_float(row[0]);
        return {buffer, 0};
      } else {
        for (int64_t i = 0; i < n; ++i) buffer[i] = to_float(row[i * stride]);
      }
    }
    return {buffer, 1};
  }
  StridedCursor walk = at;
  for (int64_t done = 0; done < n;) {
    const int64_t count = walk.row_left() < n - done ? walk.row_left() : n - done;
    const T *row = base + walk.offset(operand);
    const int64_t stride = walk.inner_stride(operand);
    for (int64_t i = 0; i < count; ++i) {
      if constexpr (direct) buffer[done + i] = row[i * stride];
      else buffer[done + i] = to_float(row[i * stride]);
    }
    done += count;
    walk.advance(count);
  }
  return {buffer, 1};
}

// Calls body(cursor, begin, n) over all elements in blocks of at most kBlock that are single rows wherever rows are
// long enough to be worth it.
template <class Body>
void for_each_block(const OpCall &call, const StridedLayout &layout, const Body &body) {
  constexpr int64_t kShortRow = 64;
  call.parallel(layout.numel, kElementGrain, [&](int64_t begin, int64_t end) {
    StridedCursor cursor(layout, begin);
    while (begin < end) {
      int64_t n = end - begin < kBlock ? end - begin : kBlock;
      const int64_t row = cursor.row_left();
      if (row < n && row >= kShortRow) n = row;
      body(cursor, begin, n);
      begin += n;
      for (int64_t left = n; left > 0;) {
        const int64_t step = cursor.row_left() < left ? cursor.row_left() : left;
        cursor.advance(step);
        left -= step;
      }
    }
  });
}

// Where a block's result goes: straight to the output, or to `buffer` and then narrowed by finish_block.
template <class T>
ComputeType<T> *block_out(T *y, ComputeType<T> *buffer) {
  if constexpr (std::is_same_v<T, ComputeType<T>>) return y;
  else return buffer;
}
template <class T>
void finish_block(T *y, const ComputeType<T> *buffer, int64_t n) {
  if constexpr (!std::is_same_v<T, ComputeType<T>>) narrow(buffer, y, n);
}

}  // namespace wm
