// OpenCV's u8 resizing: INTER_LINEAR in 11-bit fixed point (evaluation.md section 2, step 3) and INTER_AREA (box average
// in f32, or the same fixed point with cell positions where a side grows). Byte for byte the CPU's results: products
// that are rounded there before an addition are rounded here (__fmul_rn, __dmul_rn), positions are in double.
// Floor: the samples read and written once; linear is expected to be bound by latency, area by the byte loads.
#include <cmath>

#include "cuda/image/resize.cuh"
#include "cuda/image/rows.cuh"

namespace wm::cuda {

namespace {

struct ImageAxis {
  int in, out;
  double factor, inverse;  // source per output samples, and the reverse
};

ImageAxis image_axis(const ResizeAxis &axis) {
  return {static_cast<int>(axis.in), static_cast<int>(axis.out), opencv_factor(axis),
          static_cast<double>(axis.out) / static_cast<double>(axis.in)};
}

struct FixedTaps {
  int low, high;  // source positions
  int w0, w1;     // 11-bit weights
};

// kCells: the positions INTER_AREA uses where a side grows. kClampWeight: columns drop the fraction at the borders, rows
// keep it and clamp only the row numbers.
template <bool kCells, bool kClampWeight>
__device__ __forceinline__ FixedTaps fixed_taps(const ImageAxis &axis, int i) {
  int k;
  float a;
  if constexpr (kCells) {
    k = static_cast<int>(floor(__dmul_rn(static_cast<double>(i), axis.factor)));
    a = static_cast<float>(static_cast<double>(i + 1) - __dmul_rn(static_cast<double>(k + 1), axis.inverse));
    a = a <= 0.0f ? 0.0f : a - floorf(a);
  } else {
    const auto p = static_cast<float>(__dadd_rn(__dmul_rn(static_cast<double>(i) + 0.5, axis.factor), -0.5));
    k = static_cast<int>(floorf(p));
    a = p - static_cast<float>(k);
  }
  const int last = axis.in - 1;
  if (kClampWeight && (k < 0 || k >= last)) a = 0.0f;
  return {min(max(k, 0), last), min(max(k + 1, 0), last), __float2int_rn((1.0f - a) * 2048.0f),
          __float2int_rn(a * 2048.0f)};
}

// Samples of a pixel: a compile-time number, or `channels` where kChannels is 0.
template <int kChannels>
__device__ __forceinline__ int channel_count(int channels) {
  return kChannels > 0 ? kChannels : channels;
}

// in [H, W, C] -> out [H', W', C] (=). Row sums are cut to 16 bits, as the origin does; 256 threads a block over rows and
// pixels, no shared memory.
template <bool kCells, int kChannels>
__global__ void __launch_bounds__(kRowThreads)
    resize_linear_kernel(const uint8_t *in, const ImageAxis xs, const ImageAxis ys, int channels, uint8_t *out) {
  const int64_t row = grid_row();
  if (row >= ys.out) return;
  const int n = channel_count<kChannels>(channels);
  const FixedTaps down = fixed_taps<kCells, false>(ys, static_cast<int>(row));
  const uint8_t *top = in + int64_t{down.low} * xs.in * n, *bottom = in + int64_t{down.high} * xs.in * n;
  for (int64_t column = grid_column(); column < xs.out; column += column_step()) {
    const FixedTaps along = fixed_taps<kCells, true>(xs, static_cast<int>(column));
    const int64_t left = int64_t{along.low} * n, right = int64_t{along.high} * n;
    uint8_t *to = out + (row * xs.out + column) * n;
#pragma unroll
    for (int c = 0; c < n; ++c) {
      const int a = (top[left + c] * along.w0 + top[right + c] * along.w1) >> 4;
      const int b = (bottom[left + c] * along.w0 + bottom[right + c] * along.w1) >> 4;
      const int value = (((a * down.w0) >> 16) + ((b * down.w1) >> 16) + 2) >> 2;
      to[c] = static_cast<uint8_t>(value > 255 ? 255 : value);
    }
  }
}

__device__ __forceinline__ uint8_t to_byte(float x) {
  const int value = __float2int_rn(x);
  return static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

// The source samples that a cell of `factor` samples touches, with the share of the cell each covers: one before
// `first`, whole ones, one from `last`. Slivers under 1e-3 of a sample are dropped, as in the origin.
struct AreaCell {
  int first, last;
  bool has_head, has_tail;
  float head, whole, tail;
};

__device__ __forceinline__ AreaCell area_cell(const ImageAxis &axis, int i) {
  const double begin = __dmul_rn(static_cast<double>(i), axis.factor), end = begin + axis.factor;
  const double cell = min(axis.factor, static_cast<double>(axis.in) - begin);
  AreaCell c;
  c.last = static_cast<int>(min(floor(end), static_cast<double>(axis.in - 1)));
  c.first = min(static_cast<int>(ceil(begin)), c.last);
  const double before = static_cast<double>(c.first) - begin, behind = end - static_cast<double>(c.last);
  c.has_head = before > 1e-3;
  c.has_tail = behind > 1e-3;
  c.head = static_cast<float>(before / cell);
  c.whole = static_cast<float>(1.0 / cell);
  c.tail = static_cast<float>(min(min(behind, 1.0), cell) / cell);
  return c;
}

// visit(source, weight) in rising order.
template <class Visit>
__device__ __forceinline__ void each_tap(const AreaCell &cell, Visit visit) {
  if (cell.has_head) visit(cell.first - 1, cell.head);
  for (int k = cell.first; k < cell.last; ++k) visit(k, cell.whole);
  if (cell.has_tail) visit(cell.last, cell.tail);
}

// in [H, W, C] -> out [H', W', C] (=), sums in f32 in the order of the CPU. 256 threads a block over rows and pixels.
template <int kChannels>
__global__ void __launch_bounds__(kRowThreads, 3)
    resize_area_kernel(const uint8_t *in, const ImageAxis xs, const ImageAxis ys, int channels, uint8_t *out) {
  const int64_t row = grid_row();
  if (row >= ys.out) return;
  constexpr int kAtOnce = kChannels > 0 ? kChannels : 1;
  const int n = channel_count<kChannels>(channels);
  const AreaCell down = area_cell(ys, static_cast<int>(row));
  for (int64_t column = grid_column(); column < xs.out; column += column_step()) {
    const AreaCell along = area_cell(xs, static_cast<int>(column));
    for (int c0 = 0; c0 < n; c0 += kAtOnce) {
      float sum[kAtOnce] = {};
      each_tap(down, [&](int y, float wy) {
        const uint8_t *line = in + int64_t{y} * xs.in * n + c0;
        float part[kAtOnce] = {};
        each_tap(along, [&](int x, float wx) {
#pragma unroll
          for (int c = 0; c < kAtOnce; ++c)
            part[c] = __fadd_rn(part[c], __fmul_rn(static_cast<float>(line[int64_t{x} * n + c]), wx));
        });
#pragma unroll
        for (int c = 0; c < kAtOnce; ++c) sum[c] = __fadd_rn(sum[c], __fmul_rn(wy, part[c]));
      });
#pragma unroll
      for (int c = 0; c < kAtOnce; ++c) out[(row * xs.out + column) * n + c0 + c] = to_byte(sum[c]);
    }
  }
}

// Whole-number factors: plain integer sums, one rounding. 2 x 2 rounds halves up, all others half to even. 256 threads a
// block over rows and pixels.
template <int kChannels>
__global__ void __launch_bounds__(kRowThreads)
    resize_area_whole_kernel(const uint8_t *in, const ImageAxis xs, const ImageAxis ys, int fx, int fy, bool halves_up,
                             float share, int channels, uint8_t *out) {
  const int64_t row = grid_row();
  if (row >= ys.out) return;
  constexpr int kAtOnce = kChannels > 0 ? kChannels : 1;
  const int n = channel_count<kChannels>(channels);
  for (int64_t column = grid_column(); column < xs.out; column += column_step()) {
    for (int c0 = 0; c0 < n; c0 += kAtOnce) {
      int sum[kAtOnce] = {};
      for (int y = 0; y < fy; ++y) {
        const uint8_t *line = in + ((row * fy + y) * xs.in + column * fx) * n + c0;
        for (int x = 0; x < fx; ++x) {
#pragma unroll
          for (int c = 0; c < kAtOnce; ++c) sum[c] += line[int64_t{x} * n + c];
        }
      }
#pragma unroll
      for (int c = 0; c < kAtOnce; ++c) {
        out[(row * xs.out + column) * n + c0 + c] =
            halves_up ? static_cast<uint8_t>((sum[c] + 2) >> 2) : to_byte(static_cast<float>(sum[c]) * share);
      }
    }
  }
}

// launch(channels as a compile-time number, 0: general)
template <class F>
void by_channels(int channels, F &&launch) {
  switch (channels) {
    case 1: return launch(std::integral_constant<int, 1>{});
    case 3: return launch(std::integral_constant<int, 3>{});
    case 4: return launch(std::integral_constant<int, 4>{});
    default: return launch(std::integral_constant<int, 0>{});
  }
}

struct ImageCall {
  ImageAxis xs, ys;
  int channels;
  RowGrid grid;
};

template <bool kCells>
void resize_linear(const LaunchCall &call, const ImageCall &image) {
  by_channels(image.channels, [&](auto channels) {
    WM_LAUNCH((resize_linear_kernel<kCells, decltype(channels)::value>), image.grid.grid, image.grid.block, 0,
              call.stream(), call.in(0).as<const uint8_t>(), image.xs, image.ys, image.channels,
              call.out(0).as<uint8_t>());
  });
}

void resize_area(const LaunchCall &call, const ImageCall &image) {
  const double fx = image.xs.factor, fy = image.ys.factor;
  if (fx < 1 || fy < 1) return resize_linear<true>(call, image);
  const int64_t whole_x = std::llrint(fx), whole_y = std::llrint(fy);
  constexpr double kEpsilon = 2.220446049250313e-16;
  const bool whole = std::abs(fx - static_cast<double>(whole_x)) < kEpsilon &&
                     std::abs(fy - static_cast<double>(whole_y)) < kEpsilon &&
                     whole_x * image.xs.out <= image.xs.in && whole_y * image.ys.out <= image.ys.in &&
                     whole_x * whole_y < (int64_t{1} << 23);
  const uint8_t *in = call.in(0).as<const uint8_t>();
  uint8_t *out = call.out(0).as<uint8_t>();
  by_channels(image.channels, [&](auto channels) {
    constexpr int kChannels = decltype(channels)::value;
    if (whole) {
      const bool halves_up = whole_x == 2 && whole_y == 2 && kChannels > 0;
      WM_LAUNCH((resize_area_whole_kernel<kChannels>), image.grid.grid, image.grid.block, 0, call.stream(), in,
                image.xs, image.ys, static_cast<int>(whole_x), static_cast<int>(whole_y), halves_up,
                1.0f / static_cast<float>(whole_x * whole_y), image.channels, out);
    } else {
      WM_LAUNCH((resize_area_kernel<kChannels>), image.grid.grid, image.grid.block, 0, call.stream(), in, image.xs,
                image.ys, image.channels, out);
    }
  });
}

}  // namespace

void resize_opencv_u8(LaunchCall &call, const ResizeSpec &spec) {
  const int64_t channels = call.in(0).dim(2);
  if (channels > INT32_MAX) call.reject("too many channels: %lld", static_cast<long long>(channels));
  const ImageCall image{image_axis(spec.x), image_axis(spec.y), static_cast<int>(channels),
                        row_grid(spec.y.out, spec.x.out)};
  if (spec.mode == ResizeMode::opencv_area) return resize_area(call, image);
  resize_linear<false>(call, image);
}

}  // namespace wm::cuda
