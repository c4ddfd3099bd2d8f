// Pillow's antialiased u8 resizing (bilinear; bicubic with a = -0.5): the filter is stretched by the shrink factor,
// weights have 22 fraction bits, columns first, u8 rounding between the two passes. Byte for byte the CPU's results: the
// weights are made in double with every product rounded, the sums are 32-bit integers.
// Floor: input, intermediate and output once; a strong reduction is expected to be bound by the byte loads from shared
// memory, three a tap and pixel.
#include <cmath>

#include "cuda/image/resize.cuh"
#include "cuda/image/rows.cuh"

namespace wm::cuda {

namespace {

constexpr int kFractionBits = 22;
constexpr int kPixels = 128;         // output pixels of a block, at most
constexpr int kRows = 4;             // source rows of a block: a weight is read once for all of them
constexpr int64_t kStageBytes = 40 << 10;

// One axis: output i reads `count[i]` samples from first[i] on; weight [stride, out], so that neighbours read neighbours.
struct PilAxis {
  int in, out;
  bool bicubic;
  double scale, support, inverse;  // source per output samples; reach of the filter; 1 / its stretch
  int *first, *count, *weight;
};

__device__ __forceinline__ double triangle(double x) {
  x = fabs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

__device__ __forceinline__ double cubic(double x) {
  constexpr double kA = -0.5;
  x = fabs(x);
  if (x < 1.0) return __dmul_rn(__dmul_rn(__dmul_rn(kA + 2.0, x) - (kA + 3.0), x), x) + 1.0;
  if (x < 2.0) return __dmul_rn(__dadd_rn(__dmul_rn(__dadd_rn(__dmul_rn(x - 5.0, x), 8.0), x), -4.0), kA);
  return 0.0;
}

__device__ __forceinline__ double filter_at(const PilAxis &axis, int k, double centre) {
  const double x = __dmul_rn(static_cast<double>(k) - centre + 0.5, axis.inverse);
  return axis.bicubic ? cubic(x) : triangle(x);
}

// first, count [out], weight [stride, out] (=). A thread an output position; entries behind its count are not written.
__global__ void __launch_bounds__(64) pil_weights_kernel(const PilAxis axis) {
  const int64_t index = grid_index();
  if (index >= axis.out) return;
  const auto i = static_cast<int>(index);
  const double centre = __dmul_rn(static_cast<double>(i) + 0.5, axis.scale);
  const int first = max(static_cast<int>(centre - axis.support + 0.5), 0);
  const int end = min(static_cast<int>(centre + axis.support + 0.5), axis.in);
  double total = 0.0;
  for (int k = first; k < end; ++k) total += filter_at(axis, k, centre);
  for (int k = first; k < end; ++k) {
    const double share = filter_at(axis, k, centre);
    const double w = __dmul_rn(total != 0.0 ? share / total : share, static_cast<double>(1 << kFractionBits));
    axis.weight[int64_t{k - first} * axis.out + i] = static_cast<int>(w < 0 ? w - 0.5 : w + 0.5);
  }
  axis.first[i] = first;
  axis.count[i] = max(end - first, 0);
}

__device__ __forceinline__ uint8_t clip(int sum) {
  const int value = sum >> kFractionBits;
  return static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

// stage[k] = from[k] for k < count. Both start at the same offset within a word, so whole words move as such.
__device__ __forceinline__ void stage_bytes(const uint8_t *from, int count, uint8_t *stage) {
  const int head = min(count, static_cast<int>((4 - reinterpret_cast<uintptr_t>(from) % 4) % 4));
  const int words = (count - head) / 4, tail = head + 4 * words;
  const auto *source = reinterpret_cast<const uint32_t *>(from + head);
  auto *target = reinterpret_cast<uint32_t *>(stage + head);
  const int id = static_cast<int>(threadIdx.x);
  if (id < head) stage[id] = from[id];
  for (int k = id; k < words; k += kPixels) target[k] = __ldg(source + k);
  if (id < count - tail) stage[tail + id] = from[tail + id];
}

// sum[r][c] += weighted samples of one output pixel in kRows rows, `pitch[r]` apart as given by rows[r].
template <int kAtOnce>
__device__ __forceinline__ void sum_pixel(const uint8_t *const (&rows)[kRows], int count, const int *weight, int stride,
                                          int channels, int (&sum)[kRows][kAtOnce]) {
  for (int k = 0; k < count; ++k) {
    const int w = __ldg(weight + int64_t{k} * stride), at = k * channels;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int c = 0; c < kAtOnce; ++c) sum[r][c] += rows[r][at + c] * w;
    }
  }
}

// in [H, W, C] -> out [H, W', C] (=). 128 threads a block: 4 rows, `pixels` output pixels, a pixel a thread. kStaged: the
// source bytes of the block lie in shared memory, `pitch` a row; else they are read where they are.
template <int kChannels, bool kStaged>
__global__ void __launch_bounds__(kPixels)
    pil_columns_kernel(const uint8_t *in, const PilAxis axis, int64_t height, int channels, int pixels, int pitch,
                       uint8_t *out) {
  WM_DYNAMIC_SHARED(uint8_t, stage);
  constexpr int kAtOnce = kChannels > 0 ? kChannels : 1;
  const int n = kChannels > 0 ? kChannels : channels;
  const int64_t row0 = int64_t{blockIdx.x} * kRows;
  for (int64_t begin = int64_t{blockIdx.y} * pixels; begin < axis.out; begin += int64_t{gridDim.y} * pixels) {
    const int i0 = static_cast<int>(begin), i1 = static_cast<int>(min(begin + pixels, int64_t{axis.out}));
    const int i = i0 + static_cast<int>(threadIdx.x);
    const int source0 = axis.first[i0];
    const uint8_t *rows[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      // Rows beyond the last one repeat it; their sums are not stored.
      const uint8_t *from = in + (min(row0 + r, height - 1) * axis.in + source0) * n;
      rows[r] = from;
      if constexpr (kStaged) {
        uint8_t *to = stage + r * pitch + reinterpret_cast<uintptr_t>(from) % 4;
        stage_bytes(from, (axis.first[i1 - 1] + axis.count[i1 - 1] - source0) * n, to);
        rows[r] = to;
      }
    }
    if constexpr (kStaged) __syncthreads();
    if (i < i1) {
      const int offset = (axis.first[i] - source0) * n, count = axis.count[i];
#pragma unroll
      for (int r = 0; r < kRows; ++r) rows[r] += offset;
      for (int c0 = 0; c0 < n; c0 += kAtOnce) {
        int sum[kRows][kAtOnce];
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
#pragma unroll
          for (int c = 0; c < kAtOnce; ++c) sum[r][c] = 1 << (kFractionBits - 1);
        }
        sum_pixel<kAtOnce>(rows, count, axis.weight + i, axis.out, n, sum);
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          if (row0 + r >= height) continue;
#pragma unroll
          for (int c = 0; c < kAtOnce; ++c)
            out[((row0 + r) * axis.out + i) * n + c0 + c] = clip(sum[r][c]);
        }
#pragma unroll
        for (int r = 0; r < kRows; ++r) rows[r] += kAtOnce;
      }
    }
    if constexpr (kStaged) __syncthreads();
  }
}

// in [H, n] -> out [H', n] (=), n samples a row. 256 threads a block over rows and samples, kCount neighbours a thread.
template <int kCount>
__global__ void __launch_bounds__(kRowThreads)
    pil_rows_kernel(const uint8_t *in, const PilAxis axis, int64_t n, uint8_t *out) {
  const int64_t row = grid_row();
  if (row >= axis.out) return;
  const int count = axis.count[row];
  const int *weight = axis.weight + row;
  const uint8_t *from = in + axis.first[row] * n;
  for (int64_t column = grid_column() * kCount; column < n; column += column_step() * kCount) {
    int sum[kCount];
#pragma unroll
    for (int c = 0; c < kCount; ++c) sum[c] = 1 << (kFractionBits - 1);
    for (int k = 0; k < count; ++k) {
      const int w = __ldg(weight + int64_t{k} * axis.out);
      const auto samples = load_vector<uint8_t, kCount>(from + k * n + column);
#pragma unroll
      for (int c = 0; c < kCount; ++c) sum[c] += samples.value[c] * w;
    }
    Vector<uint8_t, kCount> result;
#pragma unroll
    for (int c = 0; c < kCount; ++c) result.value[c] = clip(sum[c]);
    store_vector(out + row * n + column, result);
  }
}

PilAxis make_axis(LaunchCall &call, const ResizeAxis &side, bool bicubic) {
  const double scale = static_cast<double>(side.in) / static_cast<double>(side.out);
  const double stretch = scale < 1.0 ? 1.0 : scale;
  const double support = (bicubic ? 2.0 : 1.0) * stretch;
  const int64_t stride = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
  const PilAxis axis{static_cast<int>(side.in), static_cast<int>(side.out), bicubic, scale, support, 1.0 / stretch,
                     call.workspace<int>(side.out), call.workspace<int>(side.out),
                     call.workspace<int>(side.out * stride)};
  WM_LAUNCH(pil_weights_kernel, dim3(blocks_for(side.out, 64)), dim3(64), 0, call.stream(), axis);
  return axis;
}

template <int kChannels>
void columns_pass(const LaunchCall &call, const uint8_t *in, const PilAxis &axis, int64_t height, int64_t channels,
                  uint8_t *out) {
  // Source bytes under p output pixels: their centres span (p - 1) scale, the filter reaches `support` to both sides.
  const auto span = [&](int pixels) {
    const double samples = std::ceil((pixels - 1) * axis.scale + 2.0 * axis.support) + 2.0;
    return (static_cast<int64_t>(samples < axis.in ? samples : axis.in) * channels + 3 + 15) / 16 * 16;
  };
  int pixels = kPixels;
  while (pixels > 8 && span(pixels) * kRows > kStageBytes) pixels /= 2;
  const bool staged = span(pixels) * kRows <= kStageBytes;
  if (!staged) pixels = kPixels;
  const int64_t across = ceil_div(axis.out, pixels);
  const dim3 grid(blocks_for(height, kRows), static_cast<unsigned>(across < 65535 ? across : 65535));
  if (staged) {
    const auto pitch = static_cast<int>(span(pixels));
    WM_LAUNCH((pil_columns_kernel<kChannels, true>), grid, dim3(kPixels), static_cast<size_t>(pitch) * kRows,
              call.stream(), in, axis, height, static_cast<int>(channels), pixels, pitch, out);
  } else {
    WM_LAUNCH((pil_columns_kernel<kChannels, false>), grid, dim3(kPixels), 0, call.stream(), in, axis, height,
              static_cast<int>(channels), pixels, 0, out);
  }
}

void rows_pass(const LaunchCall &call, const uint8_t *in, const PilAxis &axis, int64_t n, uint8_t *out) {
  if (vector_aligned<uint8_t, 4>(in, n) && vector_aligned<uint8_t, 4>(out, n)) {
    const RowGrid g = row_grid(axis.out, n / 4);
    WM_LAUNCH((pil_rows_kernel<4>), g.grid, g.block, 0, call.stream(), in, axis, n, out);
  } else {
    const RowGrid g = row_grid(axis.out, n);
    WM_LAUNCH((pil_rows_kernel<1>), g.grid, g.block, 0, call.stream(), in, axis, n, out);
  }
}

}  // namespace

void resize_pil_u8(LaunchCall &call, const ResizeSpec &spec) {
  const bool bicubic = spec.mode == ResizeMode::pil_bicubic;
  const bool columns = spec.x.in != spec.x.out, rows = spec.y.in != spec.y.out;
  if (!columns && !rows) {  // a copy, as the nearest modes make one
    ResizeSpec copy = spec;
    copy.mode = ResizeMode::opencv_nearest;
    return resize_nearest(call, copy, true);
  }
  const int64_t channels = call.in(0).dim(2);
  if (channels > INT32_MAX) call.reject("too many channels: %lld", static_cast<long long>(channels));
  const uint8_t *in = call.in(0).as<const uint8_t>();
  uint8_t *out = call.out(0).as<uint8_t>();
  if (columns) {
    uint8_t *to = rows ? call.workspace<uint8_t>(spec.y.in * spec.x.out * channels) : out;
    const PilAxis axis = make_axis(call, spec.x, bicubic);
    switch (channels) {
      case 1: columns_pass<1>(call, in, axis, spec.y.in, channels, to); break;
      case 3: columns_pass<3>(call, in, axis, spec.y.in, channels, to); break;
      case 4: columns_pass<4>(call, in, axis, spec.y.in, channels, to); break;
      default: columns_pass<0>(call, in, axis, spec.y.in, channels, to); break;
    }
    in = to;
  }
  if (rows) rows_pass(call, in, make_axis(call, spec.y, bicubic), spec.x.out * channels, out);
}

}  // namespace wm::cuda
