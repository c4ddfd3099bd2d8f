// linear(x [..., K], weight [N, K], bias [N], residual [..., N]; activation, bf16, bf16Out, keepSlope)
//   = act(x W^T + bias) + residual, and with keepSlope act'(x W^T + bias), which backward multiplies with.
// linear_bwd_input(dz [..., N], weight [N, K], gate [..., K]?; bf16, bf16Out) = gate * dz W.
// With `bf16` operands are f32 or bf16 each, rounded to bf16 and summed in f32; else all share one dtype (gemm.h).
#include "cuda/math/gemm.h"

namespace wm::cuda {

namespace {

bool is_narrow(DType type) { return type == DType::f32 || type == DType::bf16; }

// f32 or bf16, as many elements as wanted; returns whether bf16.
bool check(LaunchCall &call, const char *what, const TensorView &view, int64_t numel) {
  if (view.numel() != numel || !is_narrow(view.dtype)) {
    call.reject("%s must hold %lld values in f32 or bf16, got %lld in %s; f64 works on the cpu", what,
                static_cast<long long>(numel), static_cast<long long>(view.numel()), dtype_name(view.dtype));
  }
  return view.dtype == DType::bf16;
}

// Rows [..., K] times a matrix, by the dtypes and the flag `bf16`.
GemmArgs product(LaunchCall &call, const TensorView &x, const TensorView &weight, bool pairs, int64_t n) {
  GemmArgs args;
  GemmParams &p = args.params;
  p.m = 1;
  for (int i = 0; i + 1 < x.ndim; ++i) p.m *= x.shape[i];
  p.n = n;
  p.k = x.dim(-1);
  check(call, "x", x, p.m * p.k);
  check(call, "weight", weight, p.n * p.k);
  if (x.dtype != weight.dtype && !pairs) {
    call.reject("cannot multiply %s by %s", dtype_name(x.dtype), dtype_name(weight.dtype));
  }
  args.narrow = pairs || x.dtype == DType::bf16;
  p.a.data = x.data;
  p.a.dtype = x.dtype;
  p.a.row_stride = p.k;
  p.a.k_stride = 1;
  p.b.data = weight.data;
  p.b.dtype = weight.dtype;
  p.epilogue.out_bf16 = check(call, "the output", call.out(0), p.m * p.n);
  p.epilogue.out = call.out(0).data;
  return args;
}

void linear(LaunchCall &call) {
  const TensorView &x = call.in(0), &weight = call.in(1), &out = call.out(0);
  if (x.ndim < 1 || weight.ndim != 2 || x.dim(-1) != weight.dim(1)) {
    call.reject("x must be [..., K] and weight [N, K]");
  }
  const int64_t activation = call.attr_int(0);
  if (activation < 0 || activation > 4) call.reject("activation must be 0 to 4, got %g", call.attr(0));
  GemmArgs args = product(call, x, weight, call.attr_flag(1), weight.dim(0));
  GemmParams &p = args.params;
  args.activation = static_cast<Activation>(activation);
  p.b.row_stride = p.k;
  p.b.k_stride = 1;
  if (call.attr_flag(3)) {
    if (call.out(1).numel() != out.numel() || call.out(1).dtype != out.dtype) call.reject("both outputs must be alike");
    p.epilogue.slope = call.out(1).data;
  }
  if (call.has(2)) {
    p.epilogue.bias_bf16 = check(call, "bias", call.in(2), p.n);
    p.epilogue.bias = call.in(2).data;
  }
  if (call.has(3)) {
    p.epilogue.residual_bf16 = check(call, "residual", call.in(3), p.m * p.n);
    p.epilogue.residual = call.in(3).data;
  }
  gemm(call, args);
}

void linear_bwd_input(LaunchCall &call) {
  const TensorView &dz = call.in(0), &weight = call.in(1);
  if (dz.ndim < 1 || weight.ndim != 2 || dz.dim(-1) != weight.dim(0)) {
    call.reject("dz must be [..., N] and weight [N, K]");
  }
  GemmArgs args = product(call, dz, weight, call.attr_flag(0), weight.dim(1));
  GemmParams &p = args.params;
  p.b.row_stride = 1;
  p.b.k_stride = p.n;
  if (call.has(2)) {
    p.epilogue.gate_bf16 = check(call, "gate", call.in(2), p.m * p.n);
    p.epilogue.gate = call.in(2).data;
  }
  gemm(call, args);
}

}  // namespace

WM_REGISTER_CUDA_OP(linear, linear, kContiguous)
WM_REGISTER_CUDA_OP(linear_bwd_input, linear_bwd_input, kContiguous)

}  // namespace wm::cuda
