// linear(x [..., K], weight [N, K], bias [N], residual [..., N]; activation) = act(x W^T + bias) + residual.
// The weight is packed on the fly; the order of summation is that of linear_packed (gemm.h).
#include "native/cpu/math/gemm.h"

namespace wm {

static const float *as_f32(OpCall &call, const TensorView &view) {
  if (view.dtype == DType::f32) return view.as<float>();
  if (view.dtype != DType::bf16) call.reject("bias must be f32 or bf16 here, got %s", dtype_name(view.dtype));
  float *copy = call.workspace<float>(view.numel());
  for (int64_t i = 0; i < view.numel(); ++i) copy[i] = to_float(view.as<bf16>()[i]);
  return copy;
}

static void linear(OpCall &call) {
  const TensorView &x = call.in(0), &weight = call.in(1), &out = call.out(0);
  if (x.ndim < 1 || weight.ndim != 2 || x.dim(-1) != weight.dim(1))
    call.reject("x must be [..., K] and weight [N, K]");
  if (x.dtype != weight.dtype) call.reject("x and weight must share one dtype");
  const int64_t activation = call.attr_int(0);
  if (activation < 0 || activation > 4) call.reject("activation must be 0 to 4, got %g", call.attr(0));
  GemmArgs args;
  args.n = weight.dim(0);
  args.k = weight.dim(1);
  args.m = 1;
  for (int i = 0; i + 1 < x.ndim; ++i) args.m *= x.shape[i];
  if (out.numel() != args.m * args.n) call.reject("the output does not fit x and weight");
  args.a.data = x.data;
  args.a.dtype = x.dtype;
  args.a.row_stride = args.k;
  args.a.k_stride = 1;
  args.b = args.a;
  args.b.data = weight.data;
  args.activation = static_cast<Activation>(activation);
  if (call.has(2) && call.in(2).numel() != args.n) call.reject("bias must be [N]");
  if (call.has(3)) {
    const TensorView &residual = call.in(3);
    if (residual.numel() != args.m * args.n) call.reject("residual must have the output's shape");
    args.residual = residual.data;
    args.residual_dtype = residual.dtype;
  }
  args.out = out.data;
  args.out_dtype = out.dtype;
  if (x.dtype == DType::f64) {
    GemmF64Extras extras;
    if (call.has(2)) extras.bias = call.in(2).as<double>();
    const bool all_f64 = out.dtype == DType::f64 && (!call.has(2) || call.in(2).dtype == DType::f64) &&
                         (!call.has(3) || call.in(3).dtype == DType::f64);
    if (!all_f64) call.reject("with an f64 x everything must be f64");
    return gemm_f64(call, args, extras);
  }
  const auto narrow = [](DType t) { return t == DType::f32 || t == DType::bf16; };
  if (!narrow(x.dtype) || !narrow(out.dtype) || (call.has(3) && !narrow(args.residual_dtype))) {
    call.reject("takes f32, bf16 or f64, got x %s", dtype_name(x.dtype));
  }
  args.pairs = x.dtype == DType::bf16;
  if (call.has(2)) args.bias = as_f32(call, call.in(2));
  gemm(call, args);
}
WM_REGISTER_CPU_OP(linear, linear, kContiguous)

}  // namespace wm
