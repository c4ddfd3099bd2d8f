// Copies of one head into the layouts of the products (Kernels in attention.h), from any strides and float dtype.
#pragma once

#include "native/cpu/attention/attention.h"

namespace wm {
namespace attention {

// One head of a [B, A, N, d] tensor: element (i, c) at offset + i * row + c * column.
struct HeadView {
  const void *data;
  DType dtype;
  int64_t offset, row, column;
};

inline HeadView head_view(const TensorView &t, int64_t b, int64_t head) {
  return {t.data, t.dtype, b * t.stride[0] + head * t.stride[1], t.stride[2], t.stride[3]};
}

// An element of a float tensor of any float dtype.
template <class T>
inline T load_float(const void *data, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::f64: return static_cast<T>(static_cast<const double *>(data)[i]);
    case DType::bf16: return static_cast<T>(to_float(static_cast<const bf16 *>(data)[i]));
    case DType::f16: return static_cast<T>(to_float(static_cast<const f16 *>(data)[i]));
    default: return static_cast<T>(static_cast<const float *>(data)[i]);
  }
}

template <class T>
inline T element(const HeadView &x, int64_t i, int64_t c) {
  return load_float<T>(x.data, x.dtype, x.offset + i * x.row + c * x.column);
}

// n values to elements [at, at + n) of a float tensor.
template <class T>
inline void store_row(const Kernels<T, T> &loops, const T *src, int64_t n, const TensorView &dst, int64_t at) {
  switch (dst.dtype) {
    case DType::f64:
      for (int64_t c = 0; c < n; ++c) dst.as<double>()[at + c] = static_cast<double>(src[c]);
      return;
    case DType::bf16: return loops.to_bf16_row(src, n, dst.as<bf16>() + at);
    case DType::f16:
      for (int64_t c = 0; c < n; ++c) dst.as<f16>()[at + c] = to_f16(static_cast<float>(src[c]));
      return;
    default:
      for (int64_t c = 0; c < n; ++c) dst.as<float>()[at + c] = static_cast<float>(src[c]);
  }
}

// Inner dimensions of products are even with bf16 operands (pairs).
template <class Op>
constexpr int64_t padded_depth(int64_t k) {
  return sizeof(Op) == 2 ? k + (k & 1) : k;
}

// Rows [i0, i0 + rows) as [rows, padded_depth(d)].
template <class T, class Op>
void pack_rows(const Kernels<T, Op> &loops, const HeadView &x, int64_t i0, int64_t rows, int64_t d, Op *dst);

// The transposed head as a panel operand: K = d, N = tokens rounded up to lanes (the rest zero).
template <class T, class Op>
void pack_transposed(const Kernels<T, Op> &loops, const HeadView &x, int64_t tokens, int64_t d, Op *dst);

// Rows [i0, i0 + rows) as a panel operand: K = rows, N = d rounded up to lanes (the rest zero).
template <class T, class Op>
void pack_panels(const Kernels<T, Op> &loops, const HeadView &x, int64_t i0, int64_t rows, int64_t d, Op *dst);

}  // namespace attention
}  // namespace wm
