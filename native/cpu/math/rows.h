// Row-wise kernels: scratch rows and the widening of two-byte floats around an f32 row.
#pragma once

#include "native/core/arena.h"
#include "native/cpu/shape/strided.h"

namespace wm {

// Memory of one parallel chunk, 64-byte aligned, uninitialised (OpCall::workspace is for the calling thread alone).
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count) : bytes_(static_cast<size_t>(count < 1 ? 1 : count) * sizeof(T)) {
    data_ = static_cast<T *>(Arena::instance().allocate(bytes_));
  }
  ~Scratch() { Arena::instance().release(data_, bytes_); }
  Scratch(const Scratch &) = delete;
  Scratch &operator=(const Scratch &) = delete;
  T *data() { return data_; }

 private:
  T *data_;
  size_t bytes_;
};

// The row in the compute type: x itself, or its widened copy in `scratch`.
template <class T>
const ComputeType<T> *row_in(const T *x, ComputeType<T> *scratch, int64_t n) {
  if constexpr (std::is_same_v<T, ComputeType<T>>) {
    return x;
  } else {
    widen(x, scratch, n);
    return scratch;
  }
}

// Where to compute a row of y; finish_row narrows it where that was `scratch`.
template <class T>
ComputeType<T> *row_out(T *y, ComputeType<T> *scratch) {
  return block_out(y, scratch);
}
template <class T>
void finish_row(T *y, const ComputeType<T> *row, int64_t n) {
  finish_block(y, row, n);
}

// Rows a parallel chunk takes so that it covers about 32k elements.
inline int64_t row_grain(int64_t width) {
  const int64_t rows = kElementGrain / (width < 1 ? 1 : width);
  return rows < 1 ? 1 : rows;
}

// A parameter vector (gain, bias) in the compute type, whatever its float dtype; null where the input was not given.
template <class C>
const C *parameter_row(OpCall &call, int input, int64_t width) {
  if (!call.has(input)) return nullptr;
  const TensorView &view = call.in(input);
  if (view.numel() != width) call.reject("input %d must have %lld values", input, static_cast<long long>(width));
  const C *row = nullptr;
  dispatch_float(call, view.dtype, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (std::is_same_v<T, C>) {
      row = view.as<T>();
    } else {
      C *copy = call.workspace<C>(width);
      for (int64_t i = 0; i < width; ++i) copy[i] = static_cast<C>(to_float(view.as<T>()[i]));
      row = copy;
    }
  });
  return row;
}

}  // namespace wm
