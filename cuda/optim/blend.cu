// y = a y + b x on a flat buffer, in place: running averages of weights (a = decay, b = 1 - decay), sums of gradients,
// Muon's momentum and its step. Inputs: y [N], sizes i32 [G], the parts of x. Attributes: a, b; a = 0 does not read y.
// Floor: 12 bytes an element at the memory's bandwidth, 8 where a = 0; that is also the expected limiter.
#include "cuda/optim/flat_parts.cuh"

namespace wm::cuda {

namespace {

template <bool reads>
struct BlendUpdate {
  float *y;
  float a, b;
  bool aligned;

  template <int V>
  __device__ void at(const float *source, int64_t i) const {
    const Vector<float, V> x = load_vector<float, V>(source);
    Vector<float, V> value;
    if constexpr (reads) value = load_vector<float, V>(y + i);
#pragma unroll
    for (int k = 0; k < V; ++k) {
      if constexpr (reads) value.value[k] = fmaf(a, value.value[k], b * x.value[k]);
      else value.value[k] = b * x.value[k];
    }
    store_vector(y + i, value);
  }
};

void blend(LaunchCall &call) {
  const TensorView &flat = call.in(0);
  check_flat(call, flat);
  float *y = flat.as<float>();
  const float a = static_cast<float>(call.attr(0)), b = static_cast<float>(call.attr(1));
  const bool aligned = aligned_to(y, 16);
  if (a == 0.0f) for_parts(call, BlendUpdate<false>{y, a, b, aligned}, 1, 2);
  else for_parts(call, BlendUpdate<true>{y, a, b, aligned}, 1, 2);
}

}  // namespace

WM_REGISTER_CUDA_OP(blend, blend, kInPlaceAll)

}  // namespace wm::cuda
