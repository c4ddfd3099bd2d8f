// activation_bwd(z, dy; activation) = dy act'(z); z is the value before the activation. z, dy and the output may differ in
// dtype. The activations are those of linear: 0 none, 1 quick-gelu, 2 gelu (erf), 3 relu, 4 gelu (tanh). Arithmetic in f32
// (f64 for an f64 z).
#include "native/cpu/math/activation_slope.h"
#include "native/cpu/math/rows.h"

namespace wm {

template <class Z, class D>
static void slopes_times(OpCall &call, Activation activation) {
  using C = ComputeType<Z>;
  using Out = Z;
  const TensorView &z = call.in(0), &dy = call.in(1), &out = call.out(0);
  const VectorOps<C> &ops = vector_ops<C>();
  const auto slope = ops.unary[static_cast<int>(slope_of(activation))];
  const auto multiply = ops.binary[static_cast<int>(BinaryOp::mul)];
  call.parallel(z.numel(), kElementGrain, [&](int64_t begin, int64_t end) {
    C wide[kBlock], upstream[kBlock];
    for (int64_t i = begin; i < end; i += kBlock) {
      const int64_t n = end - i < kBlock ? end - i : kBlock;
      const C *g = row_in(dy.as<D>() + i, upstream, n);
      Out *target = out.as<Out>() + i;
      if (activation == Activation::none) {
        const C one = 1;
        C *result = row_out(target, wide);
        multiply(g, 1, &one, 0, result, n);
        finish_row(target, result, n);
        continue;
      }
      slope(row_in(z.as<Z>() + i, wide, n), wide, n, C(0), C(0));
      C *result = row_out(target, wide);
      multiply(g, 1, wide, 1, result, n);
      finish_row(target, result, n);
    }
  });
}

static void activation_bwd(OpCall &call) {
  const TensorView &z = call.in(0), &dy = call.in(1), &out = call.out(0);
  const int64_t code = call.attr_int(0);
  if (code < 0 || code > 4) call.reject("activation must be 0 to 4, got %g", call.attr(0));
  if (z.numel() != dy.numel() || out.numel() != z.numel() || out.dtype != z.dtype) {
    call.reject("z, dy and the output must have one shape, the output z's dtype");
  }
  dispatch_float(call, z.dtype, [&](auto z_type) {
    using Z = decltype(z_type);
    dispatch_float(call, dy.dtype, [&](auto dy_type) {
      using D = decltype(dy_type);
      if constexpr (std::is_same_v<ComputeType<Z>, ComputeType<D>>) {
        slopes_times<Z, D>(call, static_cast<Activation>(code));
      } else {
        call.reject("f64 beside %s", dtype_name(z.dtype == DType::f64 ? dy.dtype : z.dtype));
      }
    });
  });
}
WM_REGISTER_CPU_OP(activation_bwd, activation_bwd, kContiguous)

}  // namespace wm
