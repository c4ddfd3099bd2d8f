// The nearest modes of resize: copies of whole samples, any element size.
// Floor: the output written and as much of the input read as is asked for; expected to be bound by memory.
#include "cuda/image/resize.cuh"
#include "cuda/image/rows.cuh"

namespace wm::cuda {

namespace {

// Source of output i of one axis; `table` for Pillow, whose rule is a running sum.
struct NearestAxis {
  ResizeMode mode;
  int in, out;
  float factor;
  double step;
  const int *table;
};

__device__ __forceinline__ int nearest_source(const NearestAxis &axis, int i) {
  if (axis.mode == ResizeMode::pil_nearest) return __ldg(axis.table + i);
  if (axis.mode == ResizeMode::opencv_nearest)
    return static_cast<int>(min(floor(static_cast<double>(i) * axis.step), static_cast<double>(axis.in - 1)));
  const float position = axis.mode == ResizeMode::torch_nearest_exact
                             ? static_cast<float>((static_cast<double>(i) + 0.5) * static_cast<double>(axis.factor))
                             : static_cast<float>(i) * axis.factor;
  return min(static_cast<int>(floorf(fminf(position, static_cast<float>(axis.in)))), axis.in - 1);
}

// xs, ys (=): Pillow walks a row with a running sum, so its rounding errors are part of the rule and one thread an axis
// has to walk as well. Two blocks of one warp.
__global__ void __launch_bounds__(kWarp) pil_nearest_kernel(int x_in, int x_out, int y_in, int y_out, int *xs, int *ys) {
  if (threadIdx.x != 0) return;
  const bool x = blockIdx.x == 0;
  const int in = x ? x_in : y_in, out = x ? x_out : y_out;
  int *table = x ? xs : ys;
  const double step = static_cast<double>(in) / static_cast<double>(out);
  double position = __dmul_rn(step, 0.5);
  for (int i = 0; i < out; ++i) {
    table[i] = static_cast<int>(min(position, static_cast<double>(in - 1)));
    position = __dadd_rn(position, step);
  }
}

// in [planes, H, W, channels] -> out [planes, H', W', channels] (=). 256 threads a block over rows and samples.
template <class T>
__global__ void __launch_bounds__(kRowThreads)
    resize_nearest_kernel(const T *in, const NearestAxis xs, const NearestAxis ys, int channels, int64_t rows, T *out) {
  const int64_t row = grid_row();
  if (row >= rows) return;
  const int64_t plane = quotient(row, ys.out), width = int64_t{xs.out} * channels;
  const int y = nearest_source(ys, static_cast<int>(row - plane * ys.out));
  const T *from = in + (plane * ys.in + y) * xs.in * channels;
  for (int64_t column = grid_column(); column < width; column += column_step()) {
    const int64_t pixel = channels == 1 ? column : quotient(column, channels);
    const int64_t source = int64_t{nearest_source(xs, static_cast<int>(pixel))} * channels + (column - pixel * channels);
    out[row * width + column] = from[source];
  }
}

template <class T>
void copy_samples(const LaunchCall &call, const NearestAxis &xs, const NearestAxis &ys, int64_t channels) {
  const TensorView &in = call.in(0), &out = call.out(0);
  const int64_t width = int64_t{xs.out} * channels, rows = out.numel() / width;
  const RowGrid g = row_grid(rows, width);
  WM_LAUNCH((resize_nearest_kernel<T>), g.grid, g.block, 0, call.stream(), in.as<const T>(), xs, ys,
            static_cast<int>(channels), rows, out.as<T>());
}

NearestAxis nearest_axis(ResizeMode mode, const ResizeAxis &axis, const int *table) {
  return {mode, static_cast<int>(axis.in), static_cast<int>(axis.out), torch_factor(axis, false), opencv_factor(axis),
          table};
}

}  // namespace

void resize_nearest(LaunchCall &call, const ResizeSpec &spec, bool channels_last) {
  const int64_t channels = channels_last ? call.in(0).dim(2) : 1;
  if (channels > INT32_MAX) call.reject("too many channels: %lld", static_cast<long long>(channels));
  int *table_x = nullptr, *table_y = nullptr;
  if (spec.mode == ResizeMode::pil_nearest) {
    table_x = call.workspace<int>(spec.x.out);
    table_y = call.workspace<int>(spec.y.out);
    WM_LAUNCH(pil_nearest_kernel, dim3(2), dim3(kWarp), 0, call.stream(), static_cast<int>(spec.x.in),
              static_cast<int>(spec.x.out), static_cast<int>(spec.y.in), static_cast<int>(spec.y.out), table_x, table_y);
  }
  const NearestAxis xs = nearest_axis(spec.mode, spec.x, table_x), ys = nearest_axis(spec.mode, spec.y, table_y);
  switch (dtype_size(call.in(0).dtype)) {
    case 1: return copy_samples<uint8_t>(call, xs, ys, channels);
    case 2: return copy_samples<uint16_t>(call, xs, ys, channels);
    case 4: return copy_samples<uint32_t>(call, xs, ys, channels);
    default: return copy_samples<uint64_t>(call, xs, ys, channels);
  }
}

}  // namespace wm::cuda
