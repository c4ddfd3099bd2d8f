// y = f(x): the activations and elementary functions, and <name>_bwd(saved, dy) = dy f', where `saved` is the argument
// of f, or its result for sigmoid and tanh. Attributes, where there are any: two numbers a and b.
#include <cmath>

#include "native/cpu/shape/strided.h"

namespace wm {

namespace {

template <class T>
void unary(OpCall &call, UnaryOp op, double a, double b) {
  const TensorView &in = call.in(0), &out = call.out(0);
  const StridedLayout layout(call, out, {&in});
  using C = ComputeType<T>;
  const auto function = vector_ops<C>().unary[static_cast<int>(op)];
  for_each_block(call, layout, [&](const StridedCursor &at, int64_t begin, int64_t n) {
    alignas(64) C source[kBlock], result[kBlock];
    const Operand<C> x = fetch(in.as<T>(), at, 0, n, source);
    T *y = out.as<T>() + begin;
    C *z = block_out(y, result);
    if (x.step == 0) {
      C value;
      function(x.data, &value, 1, static_cast<C>(a), static_cast<C>(b));
      for (int64_t i = 0; i < n; ++i) z[i] = value;
    } else {
      function(x.data, z, n, static_cast<C>(a), static_cast<C>(b));
    }
    finish_block(y, result, n);
  });
}

double attr_or_zero(const OpCall &call, int i, int count) { return i < count ? call.attr(i) : 0.0; }

template <UnaryOp op, int num_attrs>
void unary_op(OpCall &call) {
  if (call.out(0).dtype != call.in(0).dtype) call.reject("dtypes differ");
  const double a = attr_or_zero(call, 0, num_attrs), b = attr_or_zero(call, 1, num_attrs);
  dispatch_float(call, call.in(0).dtype, [&](auto zero) { unary<decltype(zero)>(call, op, a, b); });
}

// The slope is formed in a block buffer and multiplied by dy there.
template <class T>
void unary_bwd(OpCall &call, UnaryOp slope, double a, double b) {
  const TensorView &saved = call.in(0), &dy = call.in(1), &out = call.out(0);
  const StridedLayout layout(call, out, {&saved, &dy});
  using C = ComputeType<T>;
  const VectorOps<C> &ops = vector_ops<C>();
  for_each_block(call, layout, [&](const StridedCursor &at, int64_t begin, int64_t n) {
    alignas(64) C source[kBlock], upstream[kBlock], result[kBlock];
    const Operand<C> x = fetch(saved.as<T>(), at, 0, n, source), g = fetch(dy.as<T>(), at, 1, n, upstream);
    ops.unary[static_cast<int>(slope)](x.data, result, x.step == 0 ? 1 : n, static_cast<C>(a), static_cast<C>(b));
    T *y = out.as<T>() + begin;
    ops.binary[static_cast<int>(BinaryOp::mul)](result, x.step, g.data, g.step, block_out(y, source), n);
    finish_block(y, source, n);
  });
}

template <UnaryOp slope, int num_attrs>
void unary_bwd_op(OpCall &call) {
  if (call.in(0).dtype != call.in(1).dtype || call.out(0).dtype != call.in(0).dtype) call.reject("dtypes differ");
  const double a = attr_or_zero(call, 0, num_attrs), b = attr_or_zero(call, 1, num_attrs);
  dispatch_float(call, call.in(0).dtype, [&](auto zero) { unary_bwd<decltype(zero)>(call, slope, a, b); });
}

// x^p by the library function: rare enough not to need a vector form.
void pow_scalar(OpCall &call) {
  const TensorView &in = call.in(0), &out = call.out(0);
  if (out.dtype != in.dtype) call.reject("dtypes differ");
  const StridedLayout layout(call, out, {&in});
  dispatch_float(call, in.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = ComputeType<T>;
    const C exponent = static_cast<C>(call.attr(0));
    for_each_block(call, layout, [&](const StridedCursor &at, int64_t begin, int64_t n) {
      alignas(64) C source[kBlock], result[kBlock];
      const Operand<C> x = fetch(in.as<T>(), at, 0, n, source);
      T *y = out.as<T>() + begin;
      C *z = block_out(y, result);
      for (int64_t i = 0; i < n; ++i) z[i] = std::pow(x.data[i * x.step], exponent);
      finish_block(y, result, n);
    });
  });
}

}  // namespace

WM_REGISTER_CPU_OP(neg, (unary_op<UnaryOp::neg, 0>), kStrided)
WM_REGISTER_CPU_OP(exp, (unary_op<UnaryOp::exp, 0>), kStrided)
WM_REGISTER_CPU_OP(log, (unary_op<UnaryOp::log, 0>), kStrided)
WM_REGISTER_CPU_OP(sqrt, (unary_op<UnaryOp::sqrt, 0>), kStrided)
WM_REGISTER_CPU_OP(rsqrt, (unary_op<UnaryOp::rsqrt, 0>), kStrided)
WM_REGISTER_CPU_OP(abs, (unary_op<UnaryOp::abs, 0>), kStrided)
WM_REGISTER_CPU_OP(square, (unary_op<UnaryOp::square, 0>), kStrided)
WM_REGISTER_CPU_OP(sigmoid, (unary_op<UnaryOp::sigmoid, 0>), kStrided)
WM_REGISTER_CPU_OP(tanh, (unary_op<UnaryOp::tanh, 0>), kStrided)
WM_REGISTER_CPU_OP(relu, (unary_op<UnaryOp::relu, 0>), kStrided)
WM_REGISTER_CPU_OP(silu, (unary_op<UnaryOp::silu, 0>), kStrided)
WM_REGISTER_CPU_OP(gelu, (unary_op<UnaryOp::gelu, 0>), kStrided)
WM_REGISTER_CPU_OP(gelu_tanh, (unary_op<UnaryOp::gelu_tanh, 0>), kStrided)
WM_REGISTER_CPU_OP(quick_gelu, (unary_op<UnaryOp::quick_gelu, 0>), kStrided)
WM_REGISTER_CPU_OP(scale_shift, (unary_op<UnaryOp::scale_shift, 2>), kStrided)
WM_REGISTER_CPU_OP(clamp, (unary_op<UnaryOp::clamp, 2>), kStrided)
WM_REGISTER_CPU_OP(pow_scalar, pow_scalar, kStrided)

WM_REGISTER_CPU_OP(abs_bwd, (unary_bwd_op<UnaryOp::d_abs, 0>), kStrided)
WM_REGISTER_CPU_OP(sigmoid_bwd, (unary_bwd_op<UnaryOp::d_sigmoid, 0>), kStrided)
WM_REGISTER_CPU_OP(tanh_bwd, (unary_bwd_op<UnaryOp::d_tanh, 0>), kStrided)
WM_REGISTER_CPU_OP(relu_bwd, (unary_bwd_op<UnaryOp::d_relu, 0>), kStrided)
WM_REGISTER_CPU_OP(silu_bwd, (unary_bwd_op<UnaryOp::d_silu, 0>), kStrided)
WM_REGISTER_CPU_OP(gelu_bwd, (unary_bwd_op<UnaryOp::d_gelu, 0>), kStrided)
WM_REGISTER_CPU_OP(gelu_tanh_bwd, (unary_bwd_op<UnaryOp::d_gelu_tanh, 0>), kStrided)
WM_REGISTER_CPU_OP(quick_gelu_bwd, (unary_bwd_op<UnaryOp::d_quick_gelu, 0>), kStrided)
WM_REGISTER_CPU_OP(clamp_bwd, (unary_bwd_op<UnaryOp::d_clamp, 2>), kStrided)

}  // namespace wm
