// Split-K's second half: parts of sums, added in order of K, then the epilogue. Limiter: memory (parts * M * N * 4 bytes read).
#include "cuda/math/gemm_epilogue.cuh"

namespace wm::cuda {

namespace {

constexpr int kThreads = 256, kRun = 4;

// partial [parts, rows, N] -> outputs [rows, N] (=), rows = batch * M. 256 threads a block, a run of four columns a thread.
template <Activation kActivation>
__global__ void gemm_reduce_kernel(GemmParams p, int64_t rows, int64_t runs, bool aligned) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= rows * runs) return;
  const int64_t row = i / runs, column = i % runs * kRun;
  const int count = static_cast<int>(min(p.n - column, int64_t{kRun}));
  float sum[kRun] = {}, part[kRun];
  for (int k = 0; k < p.parts; ++k) {
    load_run<kRun>(p.partial + (k * rows + row) * p.n, false, column, count, aligned && count == kRun, part);
#pragma unroll
    for (int j = 0; j < kRun; ++j) sum[j] += part[j];
  }
  finish_run<kActivation, kRun>(p.epilogue, row * p.n, column, count, aligned, sum);
}

// row_partial [parts, M] -> row_sums [M] (=).
__global__ void gemm_reduce_rows_kernel(const float *row_partial, float *row_sums, int64_t m, int parts) {
  const int64_t row = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (row >= m) return;
  float sum = 0.0f;
  for (int k = 0; k < parts; ++k) sum += row_partial[k * m + row];
  row_sums[row] = sum;
}

}  // namespace

void gemm_reduce(LaunchCall &call, const GemmParams &p, Activation activation) {
  const int64_t rows = gemm_batch(p) * p.m, runs = (p.n + kRun - 1) / kRun;
  dispatch_activation(activation, [&](auto chosen) {
    WM_LAUNCH((gemm_reduce_kernel<decltype(chosen)::value>), dim3(blocks_for(rows * runs, kThreads)), dim3(kThreads), 0,
              call.stream(), p, rows, runs, epilogue_aligned(p.epilogue, p.n));
  });
  if (p.row_sums != nullptr) {
    WM_LAUNCH(gemm_reduce_rows_kernel, dim3(blocks_for(p.m, kThreads)), dim3(kThreads), 0, call.stream(), p.row_partial,
              p.row_sums, p.m, p.parts);
  }
}

}  // namespace wm::cuda
