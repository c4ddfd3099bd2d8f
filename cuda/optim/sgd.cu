// SGD with momentum over one flat parameter group (kernels.md R2): parameters [N] and momentum [N] are changed in place.
// Inputs: parameters, momentum, sizes i32 [G], gradients. Attributes: scale, momentum, decay, rate, nesterov
// (native/cpu/optim/optim_rows.h has the formula). Floor: 20 bytes a parameter at the memory's bandwidth, which is also
// the expected limiter.
#include "cuda/optim/flat_parts.cuh"

namespace wm::cuda {

namespace {

struct SgdUpdate {
  float *p, *buffer;
  float scale, momentum, decay, rate;
  bool nesterov, aligned;

  template <int V>
  __device__ void at(const float *grad, int64_t i) const {
    const Vector<float, V> x = load_vector<float, V>(grad);
    Vector<float, V> value = load_vector<float, V>(p + i), b = load_vector<float, V>(buffer + i);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const float g = fmaf(x.value[k], scale, decay * value.value[k]);
      b.value[k] = fmaf(momentum, b.value[k], g);
      value.value[k] = fmaf(-rate, nesterov ? fmaf(momentum, b.value[k], g) : b.value[k], value.value[k]);
    }
    store_vector(buffer + i, b);
    store_vector(p + i, value);
  }
};

void sgd(LaunchCall &call) {
  const TensorView &flat = call.in(0), &buffer = call.in(1);
  check_flat(call, flat);
  if (buffer.dtype != flat.dtype || buffer.numel() != flat.numel()) call.reject("momentum must be as the parameters");
  SgdUpdate update;
  update.p = flat.as<float>();
  update.buffer = buffer.as<float>();
  update.scale = static_cast<float>(call.attr(0));
  update.momentum = static_cast<float>(call.attr(1));
  update.decay = static_cast<float>(call.attr(2));
  update.rate = static_cast<float>(call.attr(3));
  update.nesterov = call.attr_flag(4);
  update.aligned = aligned_to(update.p, 16) && aligned_to(update.buffer, 16);
  for_parts(call, update, 2, 3);
}

}  // namespace

WM_REGISTER_CUDA_OP(sgd, sgd, kInPlaceAll)

}  // namespace wm::cuda
