// y = x made contiguous, any strides and dtype; assign(target, source) writes a source that broadcasts into target's
// memory. Where x's unit stride lies in another dimension than the last, square tiles pass through shared memory, so
// that both sides are accessed in whole lines. Floor: x and y once at the memory's bandwidth, also the expected limiter.
#include "cuda/core/words.cuh"
#include "cuda/math/elementwise.cuh"
#include "native/core/shape_checks.h"

namespace wm::cuda {

namespace {

struct Identity {
  template <class T>
  __device__ T operator()(T x) const { return x; }
};

constexpr int kTile = 32;
constexpr int kTileRows = 8;  // rows of threads: four elements a thread

// Rows run along the dimension of unit stride in the input, columns along the last one, which is that of the output.
struct Transposition {
  int64_t rows, columns;
  int64_t row_step;     // in the output; 1 in the input
  int64_t column_step;  // in the input; 1 in the output
  Divisor row_tiles, column_tiles;
  int outer = 0;  // the other dimensions
  Divisor size[kMaxDims];
  int64_t source[kMaxDims], target[kMaxDims];
};

// x -> y (=). 32 x 8 threads a block, a tile of 32 x 32 elements; shared memory: the tile with a column of padding, so
// that its columns lie in different banks.
template <class T>
__global__ void __launch_bounds__(kTile *kTileRows) transpose_kernel(Transposition plan, const T *x, T *y) {
  __shared__ T tile[kTile][kTile + 1];
  int64_t rest = blockIdx.x;
  const int64_t column = plan.column_tiles.split(rest) * kTile, row = plan.row_tiles.split(rest) * kTile;
  for (int d = plan.outer - 1; d >= 0; --d) {
    const int64_t i = plan.size[d].split(rest);
    x += i * plan.source[d];
    y += i * plan.target[d];
  }
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
#pragma unroll
  for (int k = ty; k < kTile; k += kTileRows) {
    if (row + tx < plan.rows && column + k < plan.columns) tile[k][tx] = x[row + tx + (column + k) * plan.column_step];
  }
  __syncthreads();
#pragma unroll
  for (int k = ty; k < kTile; k += kTileRows) {
    if (row + k < plan.rows && column + tx < plan.columns) y[(row + k) * plan.row_step + column + tx] = tile[tx][k];
  }
}

template <class T>
void copy_transposed(LaunchCall &call, const TensorView &in, const TensorView &out, const StridedLayout &layout, int unit) {
  const int last = layout.ndim - 1;
  Transposition plan;
  plan.rows = layout.shape[unit];
  plan.columns = layout.shape[last];
  plan.row_step = 1;
  for (int d = unit + 1; d <= last; ++d) plan.row_step *= layout.shape[d];
  plan.column_step = layout.stride[0][last];
  const int64_t row_tiles = ceil_div(plan.rows, kTile), column_tiles = ceil_div(plan.columns, kTile);
  const int64_t blocks = layout.numel / (plan.rows * plan.columns) * row_tiles * column_tiles;
  plan.row_tiles = Divisor(row_tiles, blocks);
  plan.column_tiles = Divisor(column_tiles, blocks);
  int64_t target[kMaxDims], step = 1;
  for (int d = last; d >= 0; --d) {
    target[d] = step;
    step *= layout.shape[d];
  }
  for (int d = 0; d < last; ++d) {
    if (d == unit) continue;
    plan.size[plan.outer] = Divisor(layout.shape[d], blocks);
    plan.source[plan.outer] = layout.stride[0][d];
    plan.target[plan.outer++] = target[d];
  }
  WM_LAUNCH((transpose_kernel<T>), dim3(blocks_for(blocks, 1)), dim3(kTile, kTileRows), 0, call.stream(), plan,
            in.as<const T>(), out.as<T>());
}

void copy_into(LaunchCall &call, const TensorView &in, const TensorView &out) {
  if (in.dtype != out.dtype) call.reject("dtypes differ");
  const StridedLayout layout(call, out, {&in});
  if (layout.numel == 0) return;
  const int unit = transposed_axis(layout);
  dispatch_size(call, in.dtype, [&](auto zero) {
    using T = decltype(zero);
    if (unit >= 0) copy_transposed<T>(call, in, out, layout, unit);
    else map<T, T>(call, Identity{}, in, out);
  });
}

void copy(LaunchCall &call) { copy_into(call, call.in(0), call.out(0)); }

void assign(LaunchCall &call) { copy_into(call, call.in(1), read_assign_target(call)); }

}  // namespace

WM_REGISTER_CUDA_OP(copy, copy, kStrided)
WM_REGISTER_CUDA_OP(assign, assign, kStrided | kInPlace)

}  // namespace wm::cuda
