// y = mask ? a : b with broadcasting, any dtype, any strides; the mask is bool or u8.
// Floor: the three operands and the result once at the memory's bandwidth. Kernel: elementwise.cuh.
#include "cuda/core/words.cuh"
#include "cuda/math/elementwise.cuh"

namespace wm::cuda {

namespace {

template <class T>
struct Select {
  __device__ T operator()(uint8_t mask, T a, T b) const { return mask != 0 ? a : b; }
};

void where(LaunchCall &call) {
  const TensorView &mask = call.in(0), &a = call.in(1), &b = call.in(2), &out = call.out(0);
  if (dtype_size(mask.dtype) != 1) call.reject("the mask must be bool or u8, got %s", dtype_name(mask.dtype));
  if (a.dtype != b.dtype || out.dtype != a.dtype) call.reject("dtypes differ");
  dispatch_size(call, a.dtype, [&](auto zero) {
    using T = decltype(zero);
    map<T, uint8_t, T, T>(call, Select<T>{}, mask, a, b, out);
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(where, where, kStrided)

}  // namespace wm::cuda
