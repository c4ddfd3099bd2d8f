// out = sqrt of the sum of squares of all elements of all inputs (f32), f64. Squares and sums are f64, so the norm of
// finite f32 values is finite: a norm that is not says that a value is not. Two stages: a sum a chunk of fixed size, then
// the chunks in order. Floor: the inputs once at the memory's bandwidth, also the expected limiter where f64 runs at half
// the rate of f32; elsewhere the conversions to f64 are.
#include "cuda/core/reduce.cuh"
#include "cuda/core/segments.cuh"
#include "cuda/core/strided.cuh"

namespace wm::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kVectors = 8;                         // of four elements a thread
constexpr int kChunk = kThreads * kVectors * 4;     // elements a block

struct NormPart {
  const float *data;
  int64_t count;
  int32_t chunk;  // the part's first chunk among all
  int32_t first;
};
using NormTable = Segments<NormPart, 128>;

// sums [chunks] (=), one a block of 256 threads; shared memory: a f64 a warp.
__global__ void __launch_bounds__(kThreads) norm_chunks_kernel(NormTable table, double *sums) {
  __shared__ double shared[kWarp];
  const NormPart &part = table.find(static_cast<int32_t>(blockIdx.x));
  const int32_t chunk = static_cast<int32_t>(blockIdx.x) - part.first;
  const bool aligned = reinterpret_cast<uintptr_t>(part.data) % 16 == 0;
  Vector<float, 4> x[kVectors];
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    const int64_t i = static_cast<int64_t>(chunk) * kChunk + (k * kThreads + static_cast<int>(threadIdx.x)) * 4;
    x[k] = load_part<4>(part.data + i, part.count - i, aligned);
  }
  double sum = 0.0;
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sum += static_cast<double>(x[k].value[i]) * static_cast<double>(x[k].value[i]);
  }
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) sums[part.chunk + chunk] = sum;
}

// out [1] (=) = sqrt of the sum of sums [count]; one block of 256 threads, shared memory: a f64 a warp.
__global__ void __launch_bounds__(kThreads) norm_finish_kernel(const double *sums, int64_t count, double *out) {
  __shared__ double shared[kWarp];
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) sum += sums[i];
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) out[0] = sqrt(sum);
}

void global_norm(LaunchCall &call) {
  const TensorView &out = call.out(0);
  if (out.dtype != DType::f64 || out.numel() != 1) call.reject("the output must be one f64");
  int64_t chunks = 0;
  for (int i = 0; i < call.num_inputs(); ++i) {
    if (!call.has(i)) continue;
    const TensorView &x = call.in(i);
    if (x.dtype != DType::f32) call.reject("takes f32 on this device, got %s; f64 works on the cpu", dtype_name(x.dtype));
    chunks += ceil_div(x.numel(), kChunk);
  }
  if (chunks > INT32_MAX) call.reject("%lld chunks are too many", static_cast<long long>(chunks));
  double *sums = call.workspace<double>(chunks);
  const auto launch_table = [&](const NormTable &table) {
    WM_LAUNCH(norm_chunks_kernel, dim3(static_cast<unsigned>(table.blocks)), dim3(kThreads), 0, call.stream(), table,
              sums);
  };
  NormTable table;
  int64_t chunk = 0;
  for (int i = 0; i < call.num_inputs(); ++i) {
    if (!call.has(i) || call.in(i).numel() == 0) continue;
    const int64_t n = call.in(i).numel(), own = ceil_div(n, kChunk);
    const NormPart part{call.in(i).as<const float>(), n, static_cast<int32_t>(chunk), 0};
    add_or_launch(call, table, part, own, launch_table);
    chunk += own;
  }
  launch_table(table);
  WM_LAUNCH(norm_finish_kernel, dim3(1), dim3(kThreads), 0, call.stream(), sums, chunks, out.as<double>());
}

}  // namespace

WM_REGISTER_CUDA_OP(global_norm, global_norm, kContiguous)

}  // namespace wm::cuda
