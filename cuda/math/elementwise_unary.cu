// y = f(x): the activations and elementary functions, and <name>_bwd(saved, dy) = dy f', where `saved` is the argument
// of f, or its result for sigmoid and tanh. Attributes, where there are any: two numbers a and b. Arithmetic in f32.
// Floor: 2 (or 3) times the tensor's bytes at the memory's bandwidth; gelu in two-byte floats is expected to be limited
// by erfc's arithmetic instead. Kernel: elementwise.cuh.
#include "cuda/math/elementwise.cuh"
#include "cuda/math/functions.cuh"

namespace wm::cuda {

namespace {

template <class F>
F with_numbers(const LaunchCall &call, int count) {
  F f;
  if (count > 0) f.a = static_cast<float>(call.attr(0));
  if (count > 1) f.b = static_cast<float>(call.attr(1));
  return f;
}

template <class F, int num_attrs>
void unary_op(LaunchCall &call) {
  const TensorView &x = call.in(0), &out = call.out(0);
  if (out.dtype != x.dtype) call.reject("dtypes differ");
  const F f = with_numbers<F>(call, num_attrs);
  dispatch_float(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    map<T, T>(call, Stored<F, T>{f}, x, out);
  });
}

template <class F, int num_attrs>
void unary_bwd_op(LaunchCall &call) {
  const TensorView &saved = call.in(0), &dy = call.in(1), &out = call.out(0);
  if (saved.dtype != dy.dtype || out.dtype != saved.dtype) call.reject("dtypes differ");
  const F f = with_numbers<F>(call, num_attrs);
  dispatch_float(call, saved.dtype, [&](auto zero) {
    using T = decltype(zero);
    map<T, T, T>(call, StoredSlope<F, T, T>{f}, saved, dy, out);
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(neg, (unary_op<Neg, 0>), kStrided)
WM_REGISTER_CUDA_OP(exp, (unary_op<Exp, 0>), kStrided)
WM_REGISTER_CUDA_OP(log, (unary_op<Log, 0>), kStrided)
WM_REGISTER_CUDA_OP(sqrt, (unary_op<Sqrt, 0>), kStrided)
WM_REGISTER_CUDA_OP(rsqrt, (unary_op<Rsqrt, 0>), kStrided)
WM_REGISTER_CUDA_OP(abs, (unary_op<Abs, 0>), kStrided)
WM_REGISTER_CUDA_OP(square, (unary_op<Square, 0>), kStrided)
WM_REGISTER_CUDA_OP(sigmoid, (unary_op<Sigmoid, 0>), kStrided)
WM_REGISTER_CUDA_OP(tanh, (unary_op<Tanh, 0>), kStrided)
WM_REGISTER_CUDA_OP(relu, (unary_op<Relu, 0>), kStrided)
WM_REGISTER_CUDA_OP(silu, (unary_op<Silu, 0>), kStrided)
WM_REGISTER_CUDA_OP(gelu, (unary_op<Gelu, 0>), kStrided)
WM_REGISTER_CUDA_OP(gelu_tanh, (unary_op<GeluTanh, 0>), kStrided)
WM_REGISTER_CUDA_OP(quick_gelu, (unary_op<QuickGelu, 0>), kStrided)
WM_REGISTER_CUDA_OP(scale_shift, (unary_op<ScaleShift, 2>), kStrided)
WM_REGISTER_CUDA_OP(clamp, (unary_op<Clamp, 2>), kStrided)
WM_REGISTER_CUDA_OP(pow_scalar, (unary_op<PowScalar, 1>), kStrided)

WM_REGISTER_CUDA_OP(abs_bwd, (unary_bwd_op<DAbs, 0>), kStrided)
WM_REGISTER_CUDA_OP(sigmoid_bwd, (unary_bwd_op<DSigmoid, 0>), kStrided)
WM_REGISTER_CUDA_OP(tanh_bwd, (unary_bwd_op<DTanh, 0>), kStrided)
WM_REGISTER_CUDA_OP(relu_bwd, (unary_bwd_op<DRelu, 0>), kStrided)
WM_REGISTER_CUDA_OP(silu_bwd, (unary_bwd_op<DSilu, 0>), kStrided)
WM_REGISTER_CUDA_OP(gelu_bwd, (unary_bwd_op<DGelu, 0>), kStrided)
WM_REGISTER_CUDA_OP(gelu_tanh_bwd, (unary_bwd_op<DGeluTanh, 0>), kStrided)
WM_REGISTER_CUDA_OP(quick_gelu_bwd, (unary_bwd_op<DQuickGelu, 0>), kStrided)
WM_REGISTER_CUDA_OP(clamp_bwd, (unary_bwd_op<DClamp, 2>), kStrided)

}  // namespace wm::cuda
