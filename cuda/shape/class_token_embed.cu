// Token sequence of a ViT: y[n, 0] = class token + positions[0], y[n, 1 + p] = patches[n, p] + positions[1 + p].
// patches [N, P, D], class token [D], positions [1 + P, D] -> [N, 1 + P, D]. Sums in f32.
// Floor: patches and y once at the memory's bandwidth (positions stay in the second-level cache), also the expected
// limiter.
#include "cuda/core/strided.cuh"
#include "native/core/shape_checks.h"

namespace wm::cuda {

namespace {

// y [images * rows, width] (=); a vector of V elements of one row a thread, 256 threads a block, no shared memory.
template <class T, int V>
__global__ void __launch_bounds__(kMapThreads)
class_token_embed_kernel(const T *patches, const T *token, const T *positions, T *y, int64_t units, Divisor row_units,
                         Divisor rows) {
  const int64_t unit = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (unit >= units) return;
  int64_t image = unit;
  const int64_t column = row_units.split(image) * V, t = rows.split(image), width = row_units.d * V;
  const T *source = t == 0 ? token : patches + (image * (rows.d - 1) + t - 1) * width;
  const Vector<T, V> a = load_vector<T, V>(source + column), b = load_vector<T, V>(positions + t * width + column);
  Vector<T, V> sum;
#pragma unroll
  for (int i = 0; i < V; ++i) sum.value[i] = from_float<T>(to_float(a.value[i]) + to_float(b.value[i]));
  store_vector(y + unit * V, sum);
}

template <class T, int V>
void launch_embed(LaunchCall &call) {
  const TensorView &patches = call.in(0), &out = call.out(0);
  const int64_t units = out.numel() / V;
  WM_LAUNCH((class_token_embed_kernel<T, V>), dim3(blocks_for(units, kMapThreads)), dim3(kMapThreads), 0, call.stream(),
            patches.as<const T>(), call.in(1).as<const T>(), call.in(2).as<const T>(), out.as<T>(), units,
            Divisor(patches.shape[2] / V, units), Divisor(patches.shape[1] + 1, units));
}

void class_token_embed(LaunchCall &call) {
  const TensorView &patches = call.in(0), &token = call.in(1), &positions = call.in(2), &out = call.out(0);
  check_class_token_embed(call);
  const int64_t width = patches.shape[2];
  dispatch_float(call, out.dtype, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kWidth = kVectorWidth<T>;
    const bool vectors = width % kWidth == 0 && aligned_to(patches.data, 16) && aligned_to(token.data, 16) &&
                         aligned_to(positions.data, 16) && aligned_to(out.data, 16);
    if (vectors) launch_embed<T, kWidth>(call);
    else launch_embed<T, 1>(call);
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(class_token_embed, class_token_embed, kContiguous)

}  // namespace wm::cuda
