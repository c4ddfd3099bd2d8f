// A borrowed, strided window on memory: what kernels receive. Strides count elements, not bytes.
#pragma once

#include <cstdint>

#include "native/core/dtype.h"
#include "native/core/half.h"

namespace wm {

constexpr int kMaxDims = 8;

struct TensorView {
  void *data = nullptr;
  DType dtype = DType::f32;
  int ndim = -1;  // -1: an optional input that was not given
  int64_t shape[kMaxDims] = {};
  int64_t stride[kMaxDims] = {};

  bool present() const { return ndim >= 0; }

  int64_t numel() const {
    int64_t n = 1;
    for (int i = 0; i < ndim; ++i) n *= shape[i];
    return n;
  }

  size_t bytes() const { return static_cast<size_t>(numel()) * dtype_size(dtype); }

  // dim(-1) is the last one.
  int64_t dim(int i) const { return shape[i < 0 ? i + ndim : i]; }

  bool contiguous() const {
    int64_t expected = 1;
    for (int i = ndim - 1; i >= 0; --i) {
      if (shape[i] != 1 && stride[i] != expected) return false;
      expected *= shape[i];
    }
    return true;
  }

  template <class T>
  T *as() const {
    return static_cast<T *>(data);
  }
};

}  // namespace wm
