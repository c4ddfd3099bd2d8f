// LayerNorm over the last axis: y = (x - mean) / sqrt(variance + eps) * gain + bias, statistics in two passes over the
// row (the second on deviations, so large means cost no accuracy). x and y: f32, bf16, f16, f64; gain and bias: any
// float dtype, either may be missing. Attributes: eps, bf16Out (kernels.md N1).
// Backward, with h = (x - mean) rstd and g = dy gain:
//   dx = rstd (g - mean(g) - h mean(g h)),  dgain = sum over rows of dy h,  dbias = sum over rows of dy.
// The row sums go through at most 64 partial rows, cut by the number of rows alone and added in order.
#include <cmath>

#include "native/cpu/math/rows.h"

namespace wm {

namespace {

template <class C>
struct RowStatistics {
  C mean, rstd;
};

template <class C>
RowStatistics<C> statistics(const VectorOps<C> &ops, const C *x, int64_t width, C eps) {
  const C n = static_cast<C>(width);
  const C mean = ops.sum(x, width) / n;
  const C variance = ops.sum_squared_deviation(x, mean, width) / n;
  return {mean, C(1) / std::sqrt(variance + eps)};
}

template <class T, class Out>
void forward(OpCall &call) {
  const TensorView &x = call.in(0), &y = call.out(0);
  using C = ComputeType<T>;
  const int64_t width = x.dim(-1), rows = width == 0 ? 0 : x.numel() / width;
  const C *gain = parameter_row<C>(call, 1, width), *bias = parameter_row<C>(call, 2, width);
  const C eps = static_cast<C>(call.attr(0));
  const VectorOps<C> &ops = vector_ops<C>();
  call.parallel(rows, row_grain(width), [&](int64_t begin, int64_t end) {
    Scratch<C> wide(width), result(width);
    for (int64_t r = begin; r < end; ++r) {
      const C *row = row_in(x.as<T>() + r * width, wide.data(), width);
      const RowStatistics<C> s = statistics(ops, row, width, eps);
      Out *target = y.as<Out>() + r * width;
      C *out = row_out(target, result.data());
      ops.normalise(row, s.mean, s.rstd, gain, bias, out, width);
      finish_row(target, out, width);
    }
  });
}

void layer_norm(OpCall &call) {
  const TensorView &x = call.in(0), &y = call.out(0);
  if (x.ndim < 1 || y.numel() != x.numel()) call.reject("x must have a last axis");
  if (y.dtype == x.dtype) {
    dispatch_float(call, x.dtype, [&](auto zero) { forward<decltype(zero), decltype(zero)>(call); });
  } else if (x.dtype == DType::f32 && y.dtype == DType::bf16) {
    forward<float, bf16>(call);
  } else {
    call.reject("%s in, %s out", dtype_name(x.dtype), dtype_name(y.dtype));
  }
}

template <class C, class Out>
void sum_partials(const OpCall &call, const C *partial, int64_t parts, int64_t stride, int64_t width,
                  const TensorView &out) {
  const auto add = vector_ops<C>().binary[static_cast<int>(BinaryOp::add)];
  call.parallel(width, 512, [&](int64_t begin, int64_t end) {
    C sum[512];
    for (int64_t i = begin; i < end; ++i) sum[i - begin] = C(0);
    for (int64_t p = 0; p < parts; ++p) add(sum, 1, partial + p * stride + begin, 1, sum, end - begin);
    for (int64_t i = begin; i < end; ++i) {
      if constexpr (std::is_same_v<Out, C>) out.as<Out>()[i] = sum[i - begin];
      else out.as<Out>()[i] = from_float<Out>(static_cast<float>(sum[i - begin]));
    }
  });
}

template <class C>
void store_parameter_gradient(const OpCall &call, const C *partial, int64_t parts, int64_t stride, int64_t width,
                              const TensorView &out) {
  if (out.numel() != width) call.reject("parameter gradients must have %lld values", static_cast<long long>(width));
  dispatch_float(call, out.dtype, [&](auto zero) {
    sum_partials<C, decltype(zero)>(call, partial, parts, stride, width, out);
  });
}

// inputs x [rows, D], gain?, dy, before?; outputs dx, dgain [D], dbias [D]. `before`, what other uses of x gave, is added
// to dx on the way.
template <class T, class D>
void backward(OpCall &call) {
  const TensorView &x = call.in(0), &dy = call.in(2), &dx = call.out(0);
  using C = ComputeType<T>;
  const T *before = call.has(3) ? call.in(3).as<T>() : nullptr;
  const auto add = vector_ops<C>().binary[static_cast<int>(BinaryOp::add)];
  const int64_t width = x.dim(-1), rows = width == 0 ? 0 : x.numel() / width;
  const C *gain = parameter_row<C>(call, 1, width);
  const C eps = static_cast<C>(call.attr(0));
  const VectorOps<C> &ops = vector_ops<C>();
  const int64_t share = (rows + 63) / 64 > 16 ? (rows + 63) / 64 : 16;
  const int64_t parts = (rows + share - 1) / share;
  C *partial = call.workspace<C>(parts * 2 * width + 1);
  call.parallel(rows, share, [&](int64_t begin, int64_t end) {
    C *dgain = partial + begin / share * 2 * width, *dbias = dgain + width;
    for (int64_t i = 0; i < 2 * width; ++i) dgain[i] = C(0);
    Scratch<C> wide(width), upstream(width), result(width), sum(width);
    for (int64_t r = begin; r < end; ++r) {
      const C *row = row_in(x.as<T>() + r * width, wide.data(), width);
      const C *g = row_in(dy.as<D>() + r * width, upstream.data(), width);
      const RowStatistics<C> s = statistics(ops, row, width, eps);
      C sums[2];
      ops.layer_norm_bwd_sums(row, g, s.mean, s.rstd, gain, sums, dgain, dbias, width);
      T *target = dx.as<T>() + r * width;
      C *out = row_out(target, result.data());
      const C n = static_cast<C>(width);
      ops.layer_norm_bwd_row(row, g, s.mean, s.rstd, gain, sums[0] / n, sums[1] / n, out, width);
      if (before != nullptr) add(row_in(before + r * width, sum.data(), width), 1, out, 1, out, width);
      finish_row(target, out, width);
    }
  });
  store_parameter_gradient(call, partial, parts, 2 * width, width, call.out(1));
  store_parameter_gradient(call, partial + width, parts, 2 * width, width, call.out(2));
}

void layer_norm_bwd(OpCall &call) {
  const TensorView &x = call.in(0);
  if (x.ndim < 1 || call.in(2).numel() != x.numel()) call.reject("dy must match x");
  if (call.has(3) && (call.in(3).dtype != x.dtype || call.in(3).numel() != x.numel())) call.reject("before must match x");
  if (call.out(0).dtype != x.dtype || call.out(0).numel() != x.numel()) call.reject("dx must match x");
  if (x.dtype == DType::f32 && call.in(2).dtype == DType::bf16) return backward<float, bf16>(call);
  if (call.in(2).dtype != x.dtype) call.reject("dy must have x's dtype or, beside f32, bf16");
  dispatch_float(call, x.dtype, [&](auto zero) { backward<decltype(zero), decltype(zero)>(call); });
}

}  // namespace

WM_REGISTER_CPU_OP(layer_norm, layer_norm, kContiguous)
WM_REGISTER_CPU_OP(layer_norm_bwd, layer_norm_bwd, kContiguous)

}  // namespace wm
