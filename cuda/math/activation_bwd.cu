// activation_bwd(z, dy; activation) = dy act'(z); z is the value before the activation. z (with the output) and dy may
// differ in dtype. The activations are those of linear: 0 none, 1 quick-gelu, 2 gelu (erf), 3 relu, 4 gelu (tanh).
// Arithmetic in f32. Floor: z, dy and the result once at the memory's bandwidth. Kernel: elementwise.cuh.
#include "cuda/math/elementwise.cuh"
#include "cuda/math/functions.cuh"

namespace wm::cuda {

namespace {

template <class F>
void slope_times(LaunchCall &call) {
  const TensorView &z = call.in(0), &dy = call.in(1), &out = call.out(0);
  dispatch_float(call, z.dtype, [&](auto z_type) {
    using Z = decltype(z_type);
    dispatch_float(call, dy.dtype, [&](auto dy_type) {
      using D = decltype(dy_type);
      map<Z, Z, D>(call, StoredSlope<F, Z, D>{}, z, dy, out);
    });
  });
}

void activation_bwd(LaunchCall &call) {
  const TensorView &z = call.in(0), &dy = call.in(1), &out = call.out(0);
  if (z.numel() != dy.numel() || out.numel() != z.numel() || out.dtype != z.dtype) {
    call.reject("z, dy and the output must have one shape, the output z's dtype");
  }
  switch (call.attr_int(0)) {
    case 0: return slope_times<One>(call);
    case 1: return slope_times<DQuickGelu>(call);
    case 2: return slope_times<DGelu>(call);
    case 3: return slope_times<DRelu>(call);
    case 4: return slope_times<DGeluTanh>(call);
    default: call.reject("activation must be 0 to 4, got %g", call.attr(0));
  }
}

}  // namespace

WM_REGISTER_CUDA_OP(activation_bwd, activation_bwd, kContiguous)

}  // namespace wm::cuda
