// linear(x [..., K], weight [N, K], bias [N], residual [..., N]; activation, bf16, bf16Out, keepSlope)
//   = act(x W^T + bias) + residual, and with keepSlope act'(x W^T + bias), which backward multiplies with.
// linear_bwd_input(dz [..., N], weight [N, K], gate [..., K]?; bf16, bf16Out) = gate * dz W.
// With `bf16` operands are f32 or bf16 each, rounded to bf16 and summed in f32, and bias is f32; else all share one dtype.
// The weight is packed on the fly; the order of summation is that of linear_packed (gemm.h).
#include <algorithm>

#include "native/cpu/math/activation_slope.h"
#include "native/cpu/math/gemm.h"
#include "native/cpu/math/rows.h"

namespace wm {

namespace {

bool is_narrow(DType type) { return type == DType::f32 || type == DType::bf16; }

const float *as_f32(OpCall &call, const TensorView &view) {
  if (view.dtype == DType::f32) return view.as<float>();
  if (view.dtype != DType::bf16) call.reject("bias must be f32 or bf16 here, got %s", dtype_name(view.dtype));
  float *copy = call.workspace<float>(view.numel());
  for (int64_t i = 0; i < view.numel(); ++i) copy[i] = to_float(view.as<bf16>()[i]);
  return copy;
}

// Operands and output of rows [..., K] times a matrix, by the dtypes and the flag `bf16`.
GemmArgs product(OpCall &call, const TensorView &x, const TensorView &weight, bool pairs) {
  const TensorView &out = call.out(0);
  const bool same = x.dtype == weight.dtype && (is_narrow(x.dtype) || x.dtype == DType::f64);
  const bool mixed = pairs && is_narrow(x.dtype) && is_narrow(weight.dtype);
  if (!same && !mixed) call.reject("cannot multiply %s by %s", dtype_name(x.dtype), dtype_name(weight.dtype));
  if ((x.dtype == DType::f64) != (out.dtype == DType::f64) || !(is_narrow(out.dtype) || out.dtype == DType::f64)) {
    call.reject("%s in, %s out", dtype_name(x.dtype), dtype_name(out.dtype));
  }
  GemmArgs args;
  args.m = 1;
  for (int i = 0; i + 1 < x.ndim; ++i) args.m *= x.shape[i];
  args.a.data = x.data;
  args.a.dtype = x.dtype;
  args.a.row_stride = x.dim(-1);
  args.a.k_stride = 1;
  args.b.data = weight.data;
  args.b.dtype = weight.dtype;
  args.pairs = pairs || x.dtype == DType::bf16;
  args.out = out.data;
  args.out_dtype = out.dtype;
  return args;
}

// Values before an activation to its slopes there, in place.
template <class T>
void to_slopes(OpCall &call, Activation activation, const TensorView &x) {
  using C = ComputeType<T>;
  const auto slope = vector_ops<C>().unary[static_cast<int>(slope_of(activation))];
  call.parallel(x.numel(), kBlock, [&](int64_t begin, int64_t end) {
    T *at = x.as<T>() + begin;
    C wide[kBlock];
    if (activation == Activation::none) std::fill(wide, wide + (end - begin), C(1));
    else slope(row_in(at, wide, end - begin), wide, end - begin, C(0), C(0));
    if constexpr (std::is_same_v<T, C>) std::copy(wide, wide + (end - begin), at);
    else narrow(wide, at, end - begin);
  });
}

void linear(OpCall &call) {
  const TensorView &x = call.in(0), &weight = call.in(1), &out = call.out(0);
  if (x.ndim < 1 || weight.ndim != 2 || x.dim(-1) != weight.dim(1))
    call.reject("x must be [..., K] and weight [N, K]");
  const int64_t activation = call.attr_int(0);
  if (activation < 0 || activation > 4) call.reject("activation must be 0 to 4, got %g", call.attr(0));
  GemmArgs args = product(call, x, weight, call.attr_flag(1));
  args.n = weight.dim(0);
  args.k = weight.dim(1);
  args.b.row_stride = args.k;
  args.b.k_stride = 1;
  args.activation = static_cast<Activation>(activation);
  if (out.numel() != args.m * args.n) call.reject("the output does not fit x and weight");
  if (call.attr_flag(3)) {
    if (call.out(1).numel() != out.numel() || call.out(1).dtype != out.dtype) call.reject("both outputs must be alike");
    args.slope = call.out(1).data;
  }
  if (call.has(2) && call.in(2).numel() != args.n) call.reject("bias must be [N]");
  if (call.has(3)) {
    const TensorView &residual = call.in(3);
    if (residual.numel() != args.m * args.n) call.reject("residual must have the output's shape");
    args.residual = residual.data;
    args.residual_dtype = residual.dtype;
  }
  if (x.dtype == DType::f64) {
    GemmF64Extras extras;
    if (call.has(2)) extras.bias = call.in(2).as<double>();
    const bool all_f64 = (!call.has(2) || call.in(2).dtype == DType::f64) &&
                         (!call.has(3) || call.in(3).dtype == DType::f64);
    if (!all_f64) call.reject("with an f64 x everything must be f64");
    gemm_f64(call, args, extras);
    if (args.slope != nullptr) to_slopes<double>(call, args.activation, call.out(1));
    return;
  }
  if (call.has(3) && !is_narrow(args.residual_dtype)) call.reject("residual must be f32 or bf16");
  if (call.has(2)) args.bias = as_f32(call, call.in(2));
  gemm(call, args);
  if (args.slope == nullptr || gemm_kernels().finish_slopes) return;
  if (out.dtype == DType::bf16) to_slopes<bf16>(call, args.activation, call.out(1));
  else to_slopes<float>(call, args.activation, call.out(1));
}

void linear_bwd_input(OpCall &call) {
  const TensorView &dz = call.in(0), &weight = call.in(1);
  if (dz.ndim < 1 || weight.ndim != 2 || dz.dim(-1) != weight.dim(0)) {
    call.reject("dz must be [..., N] and weight [N, K]");
  }
  GemmArgs args = product(call, dz, weight, call.attr_flag(0));
  args.n = weight.dim(1);
  args.k = weight.dim(0);
  args.b.row_stride = 1;
  args.b.k_stride = args.n;
  if (call.out(0).numel() != args.m * args.n) call.reject("the output does not fit dz and weight");
  if (call.has(2)) {
    const TensorView &gate = call.in(2);
    const bool fits = dz.dtype == DType::f64 ? gate.dtype == DType::f64 : is_narrow(gate.dtype);
    if (gate.numel() != call.out(0).numel() || !fits) call.reject("gate must be [..., K], f32 or bf16");
    args.gate = gate.data;
    args.gate_dtype = gate.dtype;
  }
  if (dz.dtype == DType::f64) return gemm_f64(call, args, {});
  gemm(call, args);
}

}  // namespace

WM_REGISTER_CPU_OP(linear, linear, kContiguous)
WM_REGISTER_CPU_OP(linear_bwd_input, linear_bwd_input, kContiguous)

}  // namespace wm
