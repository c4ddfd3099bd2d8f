// take_along: y[..., k] = x[..., index[..., k]] along the last axis for i32 indices, any dtype; take_along_bwd adds back:
// dx[..., n] = sum of dy[..., k] over index[..., k] = n, in the order of k, in f32. Indices lie on the device and are
// checked there: one beyond x or dx is refused, and nothing is read or added for it.
// Floor: the indices, the values taken and the result once at the memory's bandwidth. Expected limiter of take_along: the
// scattered reads; of take_along_bwd: N K comparisons a row, where both are large.
#include "cuda/core/words.cuh"

namespace wm::cuda {

namespace {

constexpr int kUnits = 4;  // elements a thread

// x [rows, from], index, y [rows, to] (=). 256 threads a block, no shared memory.
template <class T>
__global__ void __launch_bounds__(kMapThreads)
take_kernel(const T *x, const int32_t *index, T *y, int64_t n, int64_t from, Divisor to, Refusal refusal) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (kMapThreads * kUnits) + threadIdx.x;
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    const int64_t i = first + u * kMapThreads;
    if (i >= n) break;
    const int32_t column = index[i];
    const bool fits = column >= 0 && column < from;
    if (!fits) refusal.at(i, column);
    y[i] = fits ? x[to.divide(i) * from + column] : static_cast<T>(~T{0});
  }
}

constexpr int kColumns = 4;                          // of dx a thread
constexpr int kStretch = kMapThreads * kColumns;     // columns a block

// dy, index [rows, to] -> dx [rows, from] (=). A block of 256 threads makes up to 1024 columns of a row; shared memory:
// 256 indices and values (2 KiB). Each column is one thread's, which meets its terms in the order of k.
template <class T>
__global__ void __launch_bounds__(kMapThreads)
take_bwd_kernel(const T *dy, const int32_t *index, T *dx, int64_t from, int64_t to, Divisor stretches, Refusal refusal) {
  __shared__ int32_t places[kMapThreads];
  __shared__ float values[kMapThreads];
  const int thread = static_cast<int>(threadIdx.x);
  int64_t row = blockIdx.x;
  const int64_t first = stretches.split(row) * kStretch + thread;
  float sum[kColumns] = {};
  for (int64_t base = 0; base < to; base += kMapThreads) {
    const int64_t k = row * to + base + thread;
    const bool valid = base + thread < to;
    const int32_t place = valid ? index[k] : 0;
    if (place < 0 || (valid && place >= from)) refusal.at(k, place);
    places[thread] = valid ? place : -1;
    values[thread] = valid ? to_float(dy[k]) : 0.0f;
    __syncthreads();
    const int terms = static_cast<int>(to - base < kMapThreads ? to - base : kMapThreads);
    for (int t = 0; t < terms; ++t) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        if (places[t] == first + c * kMapThreads) sum[c] += values[t];
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
    const int64_t column = first + c * kMapThreads;
    if (column < from) dx[row * from + column] = from_float<T>(sum[c]);
  }
}

// Rows of x and of the indices, with matching leading dimensions.
struct AlongRows {
  int64_t rows, from, to;
};

AlongRows along_rows(const LaunchCall &call, const TensorView &wide, const TensorView &index, const TensorView &same) {
  if (index.dtype != DType::i32) call.reject("indices must be i32");
  if (wide.ndim < 1 || index.ndim != wide.ndim || same.numel() != index.numel()) call.reject("shapes do not fit");
  int64_t rows = 1;
  for (int d = 0; d < wide.ndim - 1; ++d) rows *= wide.shape[d];
  if (index.numel() != rows * index.dim(-1)) call.reject("leading dimensions differ");
  return {rows, wide.dim(-1), index.dim(-1)};
}

void take_along(LaunchCall &call) {
  const TensorView &x = call.in(0), &index = call.in(1), &out = call.out(0);
  const AlongRows plan = along_rows(call, x, index, out);
  if (out.dtype != x.dtype) call.reject("dtypes differ");
  const int64_t n = out.numel();
  dispatch_size(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    WM_LAUNCH((take_kernel<T>), dim3(blocks_for(n, kMapThreads * kUnits)), dim3(kMapThreads), 0, call.stream(),
              x.as<const T>(), index.as<const int32_t>(), out.as<T>(), n, plan.from, Divisor(plan.to, n),
              refuse_index(call, plan.from));
  });
}

// inputs dy [..., K], indices [..., K]; output [..., N]
void take_along_bwd(LaunchCall &call) {
  const TensorView &dy = call.in(0), &index = call.in(1), &out = call.out(0);
  const AlongRows plan = along_rows(call, out, index, dy);
  if (out.dtype != dy.dtype) call.reject("dtypes differ");
  // A row of no columns has a block too, which looks at its indices.
  const int64_t stretches = ceil_div(plan.from > 0 ? plan.from : 1, kStretch), blocks = plan.rows * stretches;
  dispatch_float(call, dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    WM_LAUNCH((take_bwd_kernel<T>), dim3(blocks_for(blocks, 1)), dim3(kMapThreads), 0, call.stream(), dy.as<const T>(),
              index.as<const int32_t>(), out.as<T>(), plan.from, plan.to, Divisor(stretches, blocks),
              refuse_index(call, plan.from));
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(take_along, take_along, kContiguous)
WM_REGISTER_CUDA_OP(take_along_bwd, take_along_bwd, kContiguous)

}  // namespace wm::cuda
