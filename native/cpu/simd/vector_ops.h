// Row primitives behind the elementwise, reduction, softmax and normalisation kernels: loops over contiguous rows of
// f32 or f64, one table an instruction set. Two-byte floats are converted to f32 rows first (ConvertOps).
// Sums use a fixed number of lanes and a fixed order for each table, so a row's result depends on nothing else.
#pragma once

#include <cstdint>

namespace wm {

// y = f(x; a, b). The d_ entries are derivatives; "of y" takes the function's result instead of its argument.
enum class UnaryOp : int {
  neg, exp, log, sqrt, rsqrt, abs, square, sigmoid, tanh, relu, silu, gelu, gelu_tanh, quick_gelu,
  scale_shift,  // a x + b
  clamp,        // between a and b
  d_abs, d_sigmoid /* of y */, d_tanh /* of y */, d_relu, d_silu, d_gelu, d_gelu_tanh, d_quick_gelu, d_clamp,
  count
};

// maximum and minimum give NaN where either side is NaN.
enum class BinaryOp : int { add, sub, mul, div, maximum, minimum, count };

template <class T>
struct VectorOps {
  void (*unary[static_cast<int>(UnaryOp::count)])(const T *x, T *y, int64_t n, T a, T b);
  // sa, sb: 1, or 0 where one value stands for the whole row.
  void (*binary[static_cast<int>(BinaryOp::count)])(const T *a, int64_t sa, const T *b, int64_t sb, T *y, int64_t n);

  T (*sum)(const T *x, int64_t n);
  T (*dot)(const T *a, const T *b, int64_t n);
  T (*sum_squared_deviation)(const T *x, T mean, int64_t n);
  T (*max)(const T *x, int64_t n);  // n >= 1; NaN if any is NaN
  T (*min)(const T *x, int64_t n);

  void (*multiply_add)(const T *a, const T *b, T *acc, int64_t n);  // acc += a b
  // acc += sum over i of weights[i] rows[index[i]], in that order; rows lie n apart.
  void (*weighted_rows)(const T *rows, const int32_t *index, const T *weights, int64_t count, T *acc, int64_t n);

  // y = exp((x - m) scale); returns the sum. y may be null.
  T (*exp_sum)(const T *x, T m, T scale, T *y, int64_t n);
  // The same for n columns at once: s += y. y may be null.
  void (*exp_sum_columns)(const T *x, const T *m, T scale, T *y, T *s, int64_t n);
  // y = (x - m) scale - l; m and l advance by `step` (0 or 1).
  void (*shift)(const T *x, const T *m, T scale, const T *l, int64_t step, T *y, int64_t n);
  // dx = y (dy - d) scale; d advances by `step`.
  void (*softmax_bwd)(const T *y, const T *dy, const T *d, int64_t step, T scale, T *dx, int64_t n);
  // dx = (dy - exp(y) d) scale
  void (*log_softmax_bwd)(const T *y, const T *dy, const T *d, int64_t step, T scale, T *dx, int64_t n);

  // y = (x - mean) rstd gain + bias; gain and bias may be null.
  void (*normalise)(const T *x, T mean, T rstd, const T *gain, const T *bias, T *y, int64_t n);
  // With h = (x - mean) rstd and g = dy gain: sums[0] = sum g, sums[1] = sum g h; dgain += dy h and dbias += dy
  // where these are not null.
  void (*layer_norm_bwd_sums)(const T *x, const T *dy, T mean, T rstd, const T *gain, T *sums, T *dgain, T *dbias,
                              int64_t n);
  // dx = rstd (g - c0 - h c1)
  void (*layer_norm_bwd_row)(const T *x, const T *dy, T mean, T rstd, const T *gain, T c0, T c1, T *dx, int64_t n);
};

// Two-byte floats as their bit patterns; rounding is to nearest even.
struct ConvertOps {
  void (*bf16_to_f32)(const uint16_t *x, float *y, int64_t n);
  void (*f32_to_bf16)(const float *x, uint16_t *y, int64_t n);
  void (*f16_to_f32)(const uint16_t *x, float *y, int64_t n);
  void (*f32_to_f16)(const float *x, uint16_t *y, int64_t n);
};

extern const VectorOps<float> kVectorOpsScalar, kVectorOpsAvx2, kVectorOpsAvx512;
extern const VectorOps<double> kVectorOpsDouble;
extern const ConvertOps kConvertScalar, kConvertAvx2, kConvertAvx512;

// The table of this machine (f64 has the portable one alone: it serves gradient checks).
template <class T>
const VectorOps<T> &vector_ops();
template <>
const VectorOps<float> &vector_ops<float>();
template <>
const VectorOps<double> &vector_ops<double>();
const ConvertOps &convert_ops();

}  // namespace wm
