// Attention backward, portable tier, the queries' half: row statistics, then dA = scale dS B. With the keys' half there are no
// atomics: P is computed again in each, sums run over tiles in order.
// Floor of both on an H200: 18 Nq Nk d FLOP over 67 TFLOP/s. Expected limiter: shared-memory reads.
#include "cuda/attention/attention_bwd_simt.cuh"

namespace wm::cuda::attention {

namespace {

// lse2, delta [B, A, Nq] (=), dA (=) columns [kWidth * blockIdx.y, + kWidth). One block a tile of 64 queries of one head;
// 256 threads; at most 34.5 KB of static shared memory. Blocks of further columns repeat the scores.
template <class T, int kWidth>
__global__ void __launch_bounds__(kSimtThreads, 2) attention_bwd_rows_simt_kernel(Params p, BackwardParams g) {
  __shared__ __align__(16) SimtShared<kWidth> shared;
  const Place at = locate(p, p.nq, kSimtTile, 1);
  const HeadTensors<T> x(p, g, at);
  const int i0 = at.begin, c0 = static_cast<int>(blockIdx.y) * kWidth, end = tile_key_limit(p, at, kSimtTile);
  SimtFragment<1> s, dp;
  RowState<4> state;
  float weighted[4] = {}, factor[4], lse2[4], delta[4];
  RowGradient row[4];
  state.clear();
  for (int j0 = 0; j0 < end; j0 += kSimtTile) {
    score_tile(shared, p, g, at, x, i0, j0, end, s, dp);
    softmax_step(1.0f, s, state, factor);
    add_weighted(s, dp, factor, weighted);
  }
  finish_statistics<SimtFragment<1>>(p, g, at, i0, 1.0f, c0 == 0, state, weighted, row);
  SimtFragment<kWidth / 64> da;
  da.clear();
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    lse2[r] = row[r].lse2;
    delta[r] = row[r].delta;
  }
  for (int j0 = 0; j0 < end; j0 += kSimtTile) {
    score_tile(shared, p, g, at, x, i0, j0, end, s, dp);
    softmax_gradient(lse2, delta, s, dp);
    keep_columns_first(shared, dp);
    multiply_weights(shared, x.b, p.b, j0, end, c0, p.d, da);
    __syncthreads();
  }
  if (g.da.data == nullptr) return;
  finish_rows_gradient<T>(p, g, at, i0, c0, row, da);
  store_rows<T>(g.da, at, 0, i0, at.nq, c0, p.d, da);
}

}  // namespace

void bwd_rows_simt(LaunchCall &call, DType dtype, const Params &p, const BackwardParams &g) {
  by_width_simt(call, dtype, p, p.nq, [&](auto zero, int width, dim3 grid) {
    using T = decltype(zero);
    if (width == 64) WM_LAUNCH((attention_bwd_rows_simt_kernel<T, 64>), grid, dim3(kSimtThreads), 0, call.stream(), p, g);
    else WM_LAUNCH((attention_bwd_rows_simt_kernel<T, 128>), grid, dim3(kSimtThreads), 0, call.stream(), p, g);
  });
}

}  // namespace wm::cuda::attention
