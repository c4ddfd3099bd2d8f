// Elementwise access to memory: vectors that may end raggedly, division by a constant of the launch, and the index of
// strided, broadcast operands (any stride, rank up to 8, collapsed by StridedLayout), which travels to a kernel by value.
#pragma once

#include "cuda/core/op.h"
#include "native/core/strided_layout.h"

namespace wm::cuda {

constexpr int kMapThreads = 256;  // threads a block of the elementwise kernels

// Elements that 16 bytes hold of the widest of these types.
template <class... T>
constexpr int vector_width() {
  size_t widest = 1;
  ((widest = sizeof(T) > widest ? sizeof(T) : widest), ...);
  return static_cast<int>(16 / widest);
}

inline bool aligned_to(const void *data, size_t bytes) { return reinterpret_cast<uintptr_t>(data) % bytes == 0; }

// The first `left` of V elements; the others are not read and hold zeros. Where x may stand anywhere (not `aligned`),
// elements are read one by one.
template <int V, class T>
__device__ inline Vector<T, V> load_part(const T *x, int64_t left, bool aligned = true) {
  if constexpr (V > 1) {
    if (left < V || !aligned) {
      Vector<T, V> vector = {};
#pragma unroll
      for (int i = 0; i < V; ++i) {
        if (i < left) vector.value[i] = x[i];
      }
      return vector;
    }
  }
  return load_vector<T, V>(x);
}

template <int V, class T>
__device__ inline void store_part(T *y, const Vector<T, V> &vector, int64_t left, bool aligned = true) {
  if constexpr (V > 1) {
    if (left < V || !aligned) {
#pragma unroll
      for (int i = 0; i < V; ++i) {
        if (i < left) y[i] = vector.value[i];
      }
      return;
    }
  }
  store_vector(y, vector);
}

inline int64_t ceil_div(int64_t n, int64_t d) { return (n + d - 1) / d; }

// n / d and n % d for a d known at the launch. Below 2^31 by a multiplication (Granlund & Montgomery, "Division by
// invariant integers using multiplication", PLDI 1994): a 64-bit division takes some 80 instructions. A grid that
// reaches beyond takes the division; which of the two is the same for all threads.
struct Divisor {
  int64_t d = 1;
  uint32_t multiplier = 1, shift = 0;
  bool wide = false;

  Divisor() = default;
  // For all n of 0 .. limit.
  Divisor(int64_t divisor, int64_t limit) : d(divisor < 1 ? 1 : divisor) {
    wide = limit > INT32_MAX || d > INT32_MAX;
    if (wide) return;
    while ((uint64_t{1} << shift) < static_cast<uint64_t>(d)) ++shift;
    const uint64_t power = uint64_t{1} << shift, u = static_cast<uint64_t>(d);
    multiplier = static_cast<uint32_t>((power - u) * (uint64_t{1} << 32) / u + 1);
  }

  __device__ int64_t divide(int64_t n) const {
    if (wide) return n / d;
    const uint32_t low = static_cast<uint32_t>(n);
    return (__umulhi(low, multiplier) + low) >> shift;
  }
  // n becomes n / d; returns n % d.
  __device__ int64_t split(int64_t &n) const {
    const int64_t quotient = divide(n), rest = n - quotient * d;
    n = quotient;
    return rest;
  }
};

// Where N operands stand for unit u of the output: a unit is V neighbouring output elements, all in one innermost row.
template <int N>
struct StridedIndex {
  int ndim = 1;
  int64_t numel = 0, units = 0;  // elements and units of the output
  Divisor size[kMaxDims];        // in units along the innermost dimension
  int64_t stride[N][kMaxDims] = {};
  bool single[N] = {};  // one element serves the whole unit (innermost stride 0)

  StridedIndex(const StridedLayout &layout, int width) : ndim(layout.ndim), numel(layout.numel) {
    units = ceil_div(numel, width);
    const int last = ndim - 1;
    for (int d = 0; d < ndim; ++d) {
      size[d] = Divisor(d == last ? ceil_div(layout.shape[d], width) : layout.shape[d], units);
      for (int k = 0; k < N; ++k) stride[k][d] = layout.stride[k][d] * (d == last ? width : 1);
    }
    for (int k = 0; k < N; ++k) single[k] = layout.stride[k][last] == 0;
  }

  __device__ void locate(int64_t unit, int64_t (&offset)[N]) const {
    for (int k = 0; k < N; ++k) offset[k] = 0;
    for (int d = ndim - 1; d > 0; --d) {
      const int64_t i = size[d].split(unit);
      for (int k = 0; k < N; ++k) offset[k] += i * stride[k][d];
    }
    for (int k = 0; k < N; ++k) offset[k] += unit * stride[k][0];
  }
};

// True where units of `width` elements can be read and written as vectors: every operand runs along the innermost
// dimension or stands still there, rows hold whole vectors (a single row may end raggedly) and all rows begin aligned.
// `views` are the operands of `layout` in order.
inline bool vectors_fit(const StridedLayout &layout, int width, std::initializer_list<const TensorView *> views,
                      const TensorView &out) {
  const int last = layout.ndim - 1;
  if (!aligned_to(out.data, width * dtype_size(out.dtype))) return false;
  if (last > 0 && layout.shape[last] % width != 0) return false;
  int k = 0;
  for (const TensorView *view : views) {
    const int64_t *stride = layout.stride[k++];
    if (stride[last] != 0 && stride[last] != 1) return false;
    if (stride[last] == 0) continue;
    if (!aligned_to(view->data, width * dtype_size(view->dtype))) return false;
    for (int d = 0; d < last; ++d) {
      if (stride[d] % width != 0) return false;
    }
  }
  return true;
}

}  // namespace wm::cuda
