// AdamW over one flat parameter group (kernels.md R1), in place, in one pass: parameters [N], moments [2, N] and, if
// given, a bf16 copy of the parameters [N]. Inputs: parameters, moments, half, sizes i32 [G], gradients. Attributes:
// scale, beta1, beta2, keep, rate, correction, eps (native/cpu/optim/optim_rows.h has the formula). Floor: 28 bytes a
// parameter, 30 with the copy, at the memory's bandwidth, which is also the expected limiter.
#include "cuda/optim/flat_parts.cuh"

namespace wm::cuda {

namespace {

struct AdamwUpdate {
  float *p, *m, *v;
  bf16 *half;  // or null
  float scale, beta1, beta2, rest1, rest2, keep, rate, correction, eps;
  bool aligned;

  // The order and the fused operations are those of the CPU's vector loop: both give the same bits.
  template <int V>
  __device__ void at(const float *grad, int64_t i) const {
    const Vector<float, V> g = load_vector<float, V>(grad);
    Vector<float, V> value = load_vector<float, V>(p + i), mean = load_vector<float, V>(m + i);
    Vector<float, V> square = load_vector<float, V>(v + i);
    Vector<bf16, V> rounded;
#pragma unroll
    for (int k = 0; k < V; ++k) {
      const float x = g.value[k] * scale;
      mean.value[k] = fmaf(beta1, mean.value[k], rest1 * x);
      square.value[k] = fmaf(beta2, square.value[k], rest2 * x * x);
      const float step = mean.value[k] / fmaf(sqrtf(square.value[k]), correction, eps);
      value.value[k] = fmaf(-rate, step, keep * value.value[k]);
      rounded.value[k] = from_float<bf16>(value.value[k]);
    }
    store_vector(m + i, mean);
    store_vector(v + i, square);
    store_vector(p + i, value);
    if (half != nullptr) store_vector(half + i, rounded);
  }
};

void adamw(LaunchCall &call) {
  const TensorView &flat = call.in(0), &moments = call.in(1);
  const int64_t n = flat.numel();
  check_flat(call, flat);
  if (moments.dtype != flat.dtype || moments.numel() != 2 * n) call.reject("moments must be f32 [2, N]");
  if (call.has(2) && (call.in(2).dtype != DType::bf16 || call.in(2).numel() != n)) {
    call.reject("the copy must be bf16 [N]");
  }
  const auto number = [&](int i) { return static_cast<float>(call.attr(i)); };
  AdamwUpdate update;
  update.p = flat.as<float>();
  update.m = moments.as<float>();
  update.v = update.m + n;
  update.half = call.has(2) ? call.in(2).as<bf16>() : nullptr;
  update.scale = number(0);
  update.beta1 = number(1);
  update.beta2 = number(2);
  update.rest1 = static_cast<float>(1 - call.attr(1));
  update.rest2 = static_cast<float>(1 - call.attr(2));
  update.keep = number(3);
  update.rate = number(4);
  update.correction = number(5);
  update.eps = number(6);
  update.aligned = aligned_to(update.p, 16) && aligned_to(update.m, 16) && n % 4 == 0 && aligned_to(update.half, 8);
  for_parts(call, update, 3, 4);
}

}  // namespace

WM_REGISTER_CUDA_OP(adamw, adamw, kInPlaceAll)

}  // namespace wm::cuda
