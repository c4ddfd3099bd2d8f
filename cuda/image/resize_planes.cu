// Interpolation of floating planes: torch bilinear (align_corners both ways), torch bicubic (a = -0.75, no antialias) and
// OpenCV's float linear, y = Wy (x Wx^T), columns of a row first as in the origin; and the gradient of the torch modes,
// dx = (Wy^T dy) Wx in two gathers: an input sample finds the outputs that read it by bisection, since source positions
// never fall. Arithmetic is f32.
// Floor: input and output once; enlarging is expected to be bound by the writes.
#include "cuda/image/resize.cuh"
#include "cuda/image/rows.cuh"

namespace wm::cuda {

namespace {

enum class Filter { bilinear, bicubic, opencv, nearest, nearest_exact };

template <Filter kFilter>
constexpr int kTapCount = kFilter == Filter::bicubic                                  ? 4
                          : kFilter == Filter::bilinear || kFilter == Filter::opencv ? 2
                                                                                      : 1;

struct PlaneAxis {
  int in, out;
  bool centred;  // position (i + 1/2) factor - 1/2, else i factor
  float factor;
  double step;  // OpenCV's factor
};

PlaneAxis plane_axis(const ResizeSpec &spec, const ResizeAxis &axis) {
  PlaneAxis result{static_cast<int>(axis.in), static_cast<int>(axis.out), !spec.align_corners,
                   torch_factor(axis, spec.align_corners), opencv_factor(axis)};
  if (is_nearest(spec.mode)) result.factor = torch_factor(axis, false);  // corners are no matter of theirs
  if (spec.mode == ResizeMode::torch_bilinear && axis.in == axis.out) {  // torch copies then, whatever the factor
    result.centred = false;
    result.factor = 1.0f;
  }
  return result;
}

__device__ __forceinline__ float torch_position(const PlaneAxis &axis, int i) {
  // One rounding, as the origin does; far from zero the difference would show in the weight.
  const auto at = static_cast<float>(i);
  return axis.centred ? fmaf(axis.factor, at + 0.5f, -0.5f) : __fmul_rn(axis.factor, at);
}

// Bounds a position from above before it becomes an integer: absurd factors change no weight that is used.
__device__ __forceinline__ int bounded_floor(float position, int in) {
  return min(static_cast<int>(floorf(fminf(position, static_cast<float>(in)))), in - 1);
}

// First source sample of output i, before the clamps of bicubic's neighbours; never falls with i.
template <Filter kFilter>
__device__ __forceinline__ int first_source(const PlaneAxis &axis, int i) {
  if constexpr (kFilter == Filter::nearest) {
    return bounded_floor(axis.factor * static_cast<float>(i), axis.in);
  } else if constexpr (kFilter == Filter::nearest_exact) {
    return bounded_floor(static_cast<float>((static_cast<double>(i) + 0.5) * static_cast<double>(axis.factor)), axis.in);
  } else {
    const float position = torch_position(axis, i);
    return bounded_floor(kFilter == Filter::bilinear ? fmaxf(position, 0.0f) : position, axis.in);
  }
}

template <int kCount>
struct Taps {
  int index[kCount];
  float weight[kCount];
};

template <Filter kFilter>
__device__ __forceinline__ Taps<kTapCount<kFilter>> taps_of(const PlaneAxis &axis, int i) {
  Taps<kTapCount<kFilter>> taps;
  if constexpr (kFilter == Filter::bicubic) {
    constexpr float kA = -0.75f;
    const auto inner = [](float x) { return ((kA + 2) * x - (kA + 3)) * x * x + 1; };
    const auto outer = [](float x) { return ((kA * x - 5 * kA) * x + 8 * kA) * x - 4 * kA; };
    const int low = first_source<kFilter>(axis, i);
    const float t = __saturatef(torch_position(axis, i) - static_cast<float>(low));
    taps.weight[0] = outer(t + 1);
    taps.weight[1] = inner(t);
    taps.weight[2] = inner(1 - t);
    taps.weight[3] = outer(2 - t);
#pragma unroll
    for (int k = 0; k < 4; ++k) taps.index[k] = min(max(low - 1 + k, 0), axis.in - 1);
  } else if constexpr (kFilter == Filter::bilinear) {
    const int low = first_source<kFilter>(axis, i);
    const float fraction = __saturatef(fmaxf(torch_position(axis, i), 0.0f) - static_cast<float>(low));
    taps.index[0] = low;
    taps.index[1] = min(low + 1, axis.in - 1);
    taps.weight[0] = 1.0f - fraction;
    taps.weight[1] = fraction;
  } else if constexpr (kFilter == Filter::opencv) {
    // In double, as the origin's rule for floats; the products are rounded before the half is taken off.
    const double at = __dadd_rn(__dmul_rn(static_cast<double>(i) + 0.5, axis.step), -0.5);
    const double position = min(max(at, 0.0), static_cast<double>(axis.in));
    const int low = min(static_cast<int>(position), axis.in - 1);
    const double fraction = min(position - static_cast<double>(low), 1.0);
    taps.index[0] = low;
    taps.index[1] = min(low + 1, axis.in - 1);
    taps.weight[0] = static_cast<float>(1.0 - fraction);
    taps.weight[1] = static_cast<float>(fraction);
  } else {
    taps.index[0] = first_source<kFilter>(axis, i);
    taps.weight[0] = 1.0f;
  }
  return taps;
}

// in [planes, H, W] -> out [planes, H', W'] (=). 256 threads a block over rows and columns, kCount neighbours a thread,
// no shared memory: a row's taps are found once a thread.
template <class T, Filter kFilter, int kCount>
__global__ void __launch_bounds__(kRowThreads, 3)
    resize_planes_kernel(const T *in, const PlaneAxis xs, const PlaneAxis ys, int64_t rows, T *out) {
  constexpr int kTaps = kTapCount<kFilter>;
  const int64_t row = grid_row();
  if (row >= rows) return;
  const int64_t plane = quotient(row, ys.out);
  const Taps<kTaps> down = taps_of<kFilter>(ys, static_cast<int>(row - plane * ys.out));
  const T *line[kTaps];
#pragma unroll
  for (int k = 0; k < kTaps; ++k) line[k] = in + (plane * ys.in + down.index[k]) * xs.in;
  for (int64_t column = grid_column() * kCount; column < xs.out; column += column_step() * kCount) {
    Vector<T, kCount> result;
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      const Taps<kTaps> along = taps_of<kFilter>(xs, static_cast<int>(column) + c);
      float sum = 0.0f;
#pragma unroll
      for (int k = 0; k < kTaps; ++k) {
        float part = 0.0f;
#pragma unroll
        for (int j = 0; j < kTaps; ++j) part = fmaf(along.weight[j], to_float(line[k][along.index[j]]), part);
        sum = fmaf(down.weight[k], part, sum);
      }
      result.value[c] = from_float<T>(sum);
    }
    *reinterpret_cast<Vector<T, kCount> *>(out + row * xs.out + column) = result;
  }
}

struct Range {
  int begin, end;
};

// First output whose first source is `limit` or later.
template <Filter kFilter>
__device__ __forceinline__ int first_output(const PlaneAxis &axis, int limit) {
  int low = 0, high = axis.out;
  while (low < high) {
    const int middle = low + (high - low) / 2;
    if (first_source<kFilter>(axis, middle) >= limit)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

// Outputs that may read input i: those whose first source is at most two (bicubic) or one (bilinear) before it, or one
// behind it. Bicubic's clamped neighbours all fall on the first and the last sample.
template <Filter kFilter>
__device__ __forceinline__ Range readers(const PlaneAxis &axis, int i) {
  constexpr int kBefore = kFilter == Filter::bicubic ? 2 : kFilter == Filter::bilinear ? 1 : 0;
  constexpr int kBehind = kFilter == Filter::bicubic ? 1 : 0;
  return {i == 0 ? 0 : first_output<kFilter>(axis, i - kBefore),
          i == axis.in - 1 ? axis.out : first_output<kFilter>(axis, i + kBehind + 1)};
}

// Weight with which output `o` reads input i, given to `add` tap by tap: clamped taps count one by one.
template <Filter kFilter>
__device__ __forceinline__ float add_taps(const PlaneAxis &axis, int o, int i, float value, float sum) {
  const auto taps = taps_of<kFilter>(axis, o);
#pragma unroll
  for (int k = 0; k < kTapCount<kFilter>; ++k) {
    if (taps.index[k] == i) sum = fmaf(taps.weight[k], value, sum);
  }
  return sum;
}

// between [planes, H, W'] (=) Wy^T dy, dy [planes, H', W']. 256 threads a block over rows and columns.
template <class T, Filter kFilter>
__global__ void __launch_bounds__(kRowThreads)
    resize_rows_bwd_kernel(const T *dy, const PlaneAxis xs, const PlaneAxis ys, int64_t rows, float *between) {
  const int64_t row = grid_row();
  if (row >= rows) return;
  const int64_t plane = quotient(row, ys.in);
  const int i = static_cast<int>(row - plane * ys.in);
  const Range range = readers<kFilter>(ys, i);
  const T *from = dy + plane * ys.out * xs.out;
  for (int64_t column = grid_column(); column < xs.out; column += column_step()) {
    float sum = 0.0f;
    for (int o = range.begin; o < range.end; ++o)
      sum = add_taps<kFilter>(ys, o, i, to_float(from[int64_t{o} * xs.out + column]), sum);
    between[row * xs.out + column] = sum;
  }
}

// dx [rows, W] (=) between Wx, between [rows, W']. 256 threads a block over rows and columns.
template <class T, Filter kFilter>
__global__ void __launch_bounds__(kRowThreads)
    resize_columns_bwd_kernel(const float *between, const PlaneAxis xs, int64_t rows, T *dx) {
  const int64_t row = grid_row();
  if (row >= rows) return;
  for (int64_t column = grid_column(); column < xs.in; column += column_step()) {
    const int i = static_cast<int>(column);
    const Range range = readers<kFilter>(xs, i);
    float sum = 0.0f;
    for (int o = range.begin; o < range.end; ++o)
      sum = add_taps<kFilter>(xs, o, i, between[row * xs.out + o], sum);
    dx[row * xs.in + column] = from_float<T>(sum);
  }
}

template <class T, Filter kFilter>
void forward(LaunchCall &call, const ResizeSpec &spec) {
  const TensorView &in = call.in(0), &out = call.out(0);
  const PlaneAxis xs = plane_axis(spec, spec.x), ys = plane_axis(spec, spec.y);
  const int64_t rows = out.numel() / spec.x.out;
  if (vector_aligned<T, 4>(out.data, spec.x.out)) {
    const RowGrid g = row_grid(rows, spec.x.out / 4);
    WM_LAUNCH((resize_planes_kernel<T, kFilter, 4>), g.grid, g.block, 0, call.stream(), in.as<const T>(), xs, ys, rows,
              out.as<T>());
  } else {
    const RowGrid g = row_grid(rows, spec.x.out);
    WM_LAUNCH((resize_planes_kernel<T, kFilter, 1>), g.grid, g.block, 0, call.stream(), in.as<const T>(), xs, ys, rows,
              out.as<T>());
  }
}

template <class T, Filter kFilter>
void backward(LaunchCall &call, const ResizeSpec &spec) {
  const TensorView &dy = call.in(0), &dx = call.out(0);
  const PlaneAxis xs = plane_axis(spec, spec.x), ys = plane_axis(spec, spec.y);
  const int64_t rows = dx.numel() / spec.x.in;
  auto *between = call.workspace<float>(rows * spec.x.out);
  const RowGrid first = row_grid(rows, spec.x.out);
  WM_LAUNCH((resize_rows_bwd_kernel<T, kFilter>), first.grid, first.block, 0, call.stream(), dy.as<const T>(), xs, ys,
            rows, between);
  const RowGrid second = row_grid(rows, spec.x.in);
  WM_LAUNCH((resize_columns_bwd_kernel<T, kFilter>), second.grid, second.block, 0, call.stream(), between, xs, rows,
            dx.as<T>());
}

}  // namespace

void resize_planes(LaunchCall &call, const ResizeSpec &spec) {
  dispatch_float(call, call.in(0).dtype, [&](auto zero) {
    using T = decltype(zero);
    switch (spec.mode) {
      case ResizeMode::torch_bilinear: return forward<T, Filter::bilinear>(call, spec);
      case ResizeMode::torch_bicubic: return forward<T, Filter::bicubic>(call, spec);
      default: return forward<T, Filter::opencv>(call, spec);
    }
  });
}

void resize_planes_bwd(LaunchCall &call, const ResizeSpec &spec) {
  dispatch_float(call, call.in(0).dtype, [&](auto zero) {
    using T = decltype(zero);
    switch (spec.mode) {
      case ResizeMode::torch_bilinear: return backward<T, Filter::bilinear>(call, spec);
      case ResizeMode::torch_bicubic: return backward<T, Filter::bicubic>(call, spec);
      case ResizeMode::torch_nearest: return backward<T, Filter::nearest>(call, spec);
      default: return backward<T, Filter::nearest_exact>(call, spec);
    }
  });
}

}  // namespace wm::cuda
