// upsample_nearest(x [B, H, W, C]; factor) -> [B, fH, fW, C], each pixel repeated; upsample_nearest_bwd(dy; factor) ->
// [B, H, W, C], the f32 sum over each f x f block, row by row. Floor: the large map once at the memory's bandwidth (the
// small one is read from the caches but for the first time), also the expected limiter.
#include "cuda/core/words.cuh"
#include "native/core/shape_checks.h"

namespace wm::cuda {

namespace {

// Divisors of a large map's words: those of a pixel, pixels of a row, and the factor; and pixels of a small row.
struct Grid {
  Divisor pixel, row, factor;
  int64_t width;
};

// y (=): a word a thread, in the order of y; 256 threads a block, no shared memory.
template <class Word>
__global__ void __launch_bounds__(kMapThreads) upsample_kernel(Grid grid, const Word *x, Word *y, int64_t words) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (at >= words) return;
  int64_t row = at;
  const int64_t k = grid.pixel.split(row), column = grid.row.split(row);
  // Rows of all images run on: each image has a multiple of `factor` of them.
  const int64_t source = grid.factor.divide(row) * grid.width + grid.factor.divide(column);
  y[at] = x[source * grid.pixel.d + k];
}

void upsample_nearest(LaunchCall &call) {
  const TensorView &x = call.in(0), &out = call.out(0);
  const UpsampleMaps m = read_upsample(call, x, out);
  const int64_t pixel = m.channels * static_cast<int64_t>(dtype_size(x.dtype));
  dispatch_word({pixel, address_of(x.data), address_of(out.data)}, [&](auto zero) {
    using Word = decltype(zero);
    const auto words = static_cast<int64_t>(out.bytes() / sizeof(Word));
    const Grid grid{Divisor(pixel / static_cast<int64_t>(sizeof(Word)), words), Divisor(m.width * m.factor, words),
                    Divisor(m.factor, words), m.width};
    WM_LAUNCH((upsample_kernel<Word>), dim3(blocks_for(words, kMapThreads)), dim3(kMapThreads), 0, call.stream(), grid,
              x.as<const Word>(), out.as<Word>(), words);
  });
}

// dx (=): V channels of one small pixel a thread; 256 threads a block, no shared memory.
template <class T, int V>
__global__ void __launch_bounds__(kMapThreads)
upsample_bwd_kernel(Divisor pixel, Divisor row, int factor, const T *dy, T *dx, int64_t units) {
  const int64_t unit = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (unit >= units) return;
  int64_t y = unit;
  const int64_t k = pixel.split(y), x = row.split(y);
  const int64_t channels = pixel.d * V, line = row.d * factor * channels;
  const T *block = dy + y * factor * line + x * factor * channels + k * V;
  float sum[V] = {};
  for (int i = 0; i < factor; ++i) {
#pragma unroll 2
    for (int j = 0; j < factor; ++j) {
      const Vector<T, V> values = load_vector<T, V>(block + i * line + j * channels);
#pragma unroll
      for (int c = 0; c < V; ++c) sum[c] += to_float(values.value[c]);
    }
  }
  Vector<T, V> result;
#pragma unroll
  for (int c = 0; c < V; ++c) result.value[c] = from_float<T>(sum[c]);
  store_vector(dx + unit * V, result);
}

template <class T, int V>
void launch_bwd(LaunchCall &call, const UpsampleMaps &m) {
  const int64_t units = call.out(0).numel() / V;
  WM_LAUNCH((upsample_bwd_kernel<T, V>), dim3(blocks_for(units, kMapThreads)), dim3(kMapThreads), 0, call.stream(),
            Divisor(m.channels / V, units), Divisor(m.width, units), static_cast<int>(m.factor),
            call.in(0).as<const T>(), call.out(0).as<T>(), units);
}

void upsample_nearest_bwd(LaunchCall &call) {
  const TensorView &dy = call.in(0), &out = call.out(0);
  const UpsampleMaps m = read_upsample(call, out, dy);
  dispatch_float(call, dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kWidth = kVectorWidth<T>;
    if (m.channels % kWidth == 0 && aligned_to(dy.data, 16) && aligned_to(out.data, 16)) launch_bwd<T, kWidth>(call, m);
    else launch_bwd<T, 1>(call, m);
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(upsample_nearest, upsample_nearest, kContiguous)
WM_REGISTER_CUDA_OP(upsample_nearest_bwd, upsample_nearest_bwd, kContiguous)

}  // namespace wm::cuda
