// Binary cross-entropy of logits, element by element, without overflow and with a smooth gradient at 0:
//   loss = positive t softplus(-z) + (1 - t) softplus(z),  dz = ((1 - t) s(z) - positive t s(-z)) dy
// Targets t in 0..1 of the logits' dtype; output f32. Attribute: positive, the weight of the target's part. Floor: each
// tensor once through memory, which is the expected limiter.
#include "cuda/math/rows.cuh"

namespace wm::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kPack = 8;  // elements a thread

// log(1 + e^z)
__device__ float softplus(float z) { return fmaxf(z, 0.0f) + log1pf(expf(-fabsf(z))); }

__device__ float sigmoid(float z) {
  const float e = expf(-fabsf(z));
  return (z >= 0.0f ? 1.0f : e) / (1.0f + e);
}

// Up to kPack values at `at`; those past the end are 0.
template <class T>
__device__ void load_pack(const T *from, int64_t at, int64_t n, bool aligned, float (&to)[kPack]) {
  if (at + kPack <= n) return load_values(from + at, aligned, to);
#pragma unroll
  for (int i = 0; i < kPack; ++i) to[i] = at + i < n ? to_float(from[at + i]) : 0.0f;
}

template <class T>
__device__ void store_pack(T *to, int64_t at, int64_t n, bool aligned, const float (&from)[kPack]) {
  if (at + kPack <= n) return store_values(to + at, aligned, from);
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    if (at + i < n) to[at + i] = from_float<T>(from[i]);
  }
}

// z, t [n] -> loss [n] (=). 256 threads a block, eight elements a thread, no shared memory.
template <class T>
__global__ void __launch_bounds__(kThreads)
bce_logits_kernel(const T *z, const T *t, float *loss, int64_t n, float positive, bool aligned) {
  const int64_t at = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kPack;
  if (at >= n) return;
  float logit[kPack], target[kPack], result[kPack];
  load_pack(z, at, n, aligned, logit);
  load_pack(t, at, n, aligned, target);
#pragma unroll
  for (int i = 0; i < kPack; ++i)
    result[i] = positive * target[i] * softplus(-logit[i]) + (1.0f - target[i]) * softplus(logit[i]);
  store_pack(loss, at, n, aligned, result);
}

// z, t, dy [n] -> dz [n] (=). 256 threads a block, eight elements a thread, no shared memory.
template <class T>
__global__ void __launch_bounds__(kThreads)
bce_logits_bwd_kernel(const T *z, const T *t, const float *dy, T *dz, int64_t n, float positive, bool aligned) {
  const int64_t at = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kPack;
  if (at >= n) return;
  float logit[kPack], target[kPack], up[kPack], result[kPack];
  load_pack(z, at, n, aligned, logit);
  load_pack(t, at, n, aligned, target);
  load_pack(dy, at, n, aligned, up);
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    const float slope = (1.0f - target[i]) * sigmoid(logit[i]) - positive * target[i] * sigmoid(-logit[i]);
    result[i] = slope * up[i];
  }
  store_pack(dz, at, n, aligned, result);
}

void bce_logits(LaunchCall &call) {
  const TensorView &z = call.in(0), &t = call.in(1), &out = call.out(0);
  const int64_t n = z.numel();
  if (t.dtype != z.dtype || t.numel() != n || out.numel() != n || out.dtype != DType::f32)
    call.reject("shapes and dtypes must be equal, the loss f32");
  dispatch_float(call, z.dtype, [&](auto zero) {
    using T = decltype(zero);
    const bool aligned = aligned16(z.data) && aligned16(t.data) && aligned16(out.data);
    WM_LAUNCH((bce_logits_kernel<T>), dim3(blocks_for(n, kThreads * kPack)), dim3(kThreads), 0, call.stream(),
              z.as<const T>(), t.as<const T>(), out.as<float>(), n, static_cast<float>(call.attr(0)), aligned);
  });
}

// inputs logits, targets, dy; output: gradient of the logits
void bce_logits_bwd(LaunchCall &call) {
  const TensorView &z = call.in(0), &t = call.in(1), &dy = call.in(2), &out = call.out(0);
  const int64_t n = z.numel();
  if (t.dtype != z.dtype || t.numel() != n || dy.numel() != n || dy.dtype != DType::f32 || out.numel() != n ||
      out.dtype != z.dtype) {
    call.reject("shapes must be equal, dy f32");
  }
  dispatch_float(call, z.dtype, [&](auto zero) {
    using T = decltype(zero);
    const bool aligned = aligned16(z.data) && aligned16(t.data) && aligned16(dy.data) && aligned16(out.data);
    WM_LAUNCH((bce_logits_bwd_kernel<T>), dim3(blocks_for(n, kThreads * kPack)), dim3(kThreads), 0, call.stream(),
              z.as<const T>(), t.as<const T>(), dy.as<const float>(), out.as<T>(), n, static_cast<float>(call.attr(0)),
              aligned);
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(bce_logits, bce_logits, kContiguous)
WM_REGISTER_CUDA_OP(bce_logits_bwd, bce_logits_bwd, kContiguous)

}  // namespace wm::cuda
