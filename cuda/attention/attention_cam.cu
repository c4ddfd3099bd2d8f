// attention_cam(q [B, A, Nq, d], k [B, A, Nk, d], v [B, A, Nk, dv], dOut [B, A, Nq, dv], keyLengths i32 [B]?; scale)
//   = mean over heads of P max(dP, 0)  f32 [B, Nq, Nk],  P = softmax(scale q k^T),  dP = dOut v^T     (kernels.md A5)
// Few queries (a caption) against many keys (a picture). Floor: k and v of the chosen heads once a query through the second
// cache level. Expected limiter: those reads. Nothing but the result is written, and that by one thread an element, heads in
// order, so the bytes do not depend on the launch.
#include "cuda/core/op.h"
#include "cuda/core/reduce.cuh"

namespace wm::cuda {

namespace {

constexpr int kThreads = 256;

struct CamSizes {
  int64_t heads, nq, nk, d, dv;
};

template <class T>
__device__ __forceinline__ float dot_row(const float *a, const T *b, int64_t n) {
  float sum = 0.0f;
  for (int64_t c = 0; c < n; ++c) sum += a[c] * to_float(b[c]);
  return sum;
}

// One block a query of a sample: blockIdx.x = b * nq + i. Shared memory: q and dOut rows of the head at hand, 32 values of
// a reduction. The logits are computed twice, for the softmax and for the result: they would not fit for long pictures.
template <class T>
__global__ void __launch_bounds__(kThreads)
attention_cam_kernel(const T *q, const T *k, const T *v, const T *up, const int32_t *lengths, float *out, CamSizes s,
                     float scale) {
  WM_DYNAMIC_SHARED(float, shared);
  float *q_row = shared, *up_row = shared + s.d, *sums = up_row + s.dv;
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t b = blockIdx.x / s.nq, i = blockIdx.x % s.nq;
  float *y = out + static_cast<int64_t>(blockIdx.x) * s.nk;
  int64_t keys = s.nk;
  if (lengths != nullptr && lengths[b] < keys) keys = lengths[b] < 0 ? 0 : lengths[b];
  for (int64_t j = thread; j < s.nk; j += kThreads) y[j] = 0.0f;
  const float share = 1.0f / static_cast<float>(s.heads);
  for (int64_t head = 0; head < s.heads; ++head) {
    const int64_t at = b * s.heads + head;
    __syncthreads();
    for (int64_t c = thread; c < s.d; c += kThreads) q_row[c] = to_float(q[(at * s.nq + i) * s.d + c]);
    for (int64_t c = thread; c < s.dv; c += kThreads) up_row[c] = to_float(up[(at * s.nq + i) * s.dv + c]);
    __syncthreads();
    const T *key = k + at * s.nk * s.d;
    float top = -INFINITY;
    for (int64_t j = thread; j < keys; j += kThreads) top = fmaxf(top, scale * dot_row(q_row, key + j * s.d, s.d));
    top = block_max(top, sums);
    float mass = 0.0f;
    for (int64_t j = thread; j < keys; j += kThreads) mass += expf(scale * dot_row(q_row, key + j * s.d, s.d) - top);
    mass = block_sum(mass, sums);
    const float factor = share / mass;
    for (int64_t j = thread; j < keys; j += kThreads) {
      const float slope = dot_row(up_row, v + (at * s.nk + j) * s.dv, s.dv);
      const float p = expf(scale * dot_row(q_row, key + j * s.d, s.d) - top) * factor;
      y[j] += slope > 0.0f ? p * slope : 0.0f * slope;
    }
  }
}

CamSizes read_sizes(const LaunchCall &call) {
  const TensorView &q = call.in(0), &k = call.in(1), &v = call.in(2), &up = call.in(3), &out = call.out(0);
  bool fits = q.ndim == 4 && k.ndim == 4 && v.ndim == 4 && up.ndim == 4 && out.ndim == 3;
  if (!fits) call.reject("q, k, v and dOut must have four axes");
  const CamSizes s{q.dim(1), q.dim(2), k.dim(2), q.dim(3), v.dim(3)};
  const auto is = [batch = q.dim(0)](const TensorView &t, int64_t b, int64_t c, int64_t e) {
    return t.dim(0) == batch && t.dim(1) == b && t.dim(2) == c && t.dim(3) == e;
  };
  fits = is(k, s.heads, s.nk, s.d) && is(v, s.heads, s.nk, s.dv) && is(up, s.heads, s.nq, s.dv) && k.dtype == q.dtype &&
         v.dtype == q.dtype && up.dtype == q.dtype && out.dtype == DType::f32 && out.numel() == q.dim(0) * s.nq * s.nk;
  if (!fits) call.reject("q, k, v and dOut do not go together");
  if (call.has(4) && (call.in(4).dtype != DType::i32 || call.in(4).numel() != q.dim(0))) {
    call.reject("keyLengths must be i32 [B]");
  }
  if (s.d + s.dv > 8192) call.reject("d and dv must not exceed 8192 together");
  return s;
}

void attention_cam(LaunchCall &call) {
  const TensorView &q = call.in(0), &out = call.out(0);
  const CamSizes s = read_sizes(call);
  if (out.numel() == 0) return;
  const size_t shared = static_cast<size_t>(s.d + s.dv + 32) * sizeof(float);
  dispatch_float(call, q.dtype, [&](auto zero) {
    using T = decltype(zero);
    WM_LAUNCH((attention_cam_kernel<T>), dim3(blocks_for(q.dim(0) * s.nq, 1)), dim3(kThreads), shared, call.stream(),
              q.as<const T>(), call.in(1).as<const T>(), call.in(2).as<const T>(), call.in(3).as<const T>(),
              call.has(4) ? call.in(4).as<const int32_t>() : nullptr, out.as<float>(), s, static_cast<float>(call.attr(0)));
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(attention_cam, attention_cam, kContiguous)

}  // namespace wm::cuda
