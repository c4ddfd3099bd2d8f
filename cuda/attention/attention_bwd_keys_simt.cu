// Attention backward, portable tier, the keys' half: dV = P^T dO and dB = scale dS^T A from the row statistics that the queries'
// half left (attention_bwd_rows_simt.cu).
#include "cuda/attention/attention_bwd_simt.cuh"

namespace wm::cuda::attention {

namespace {

// dB, dV (=) columns [kWidth * blockIdx.y, + kWidth), of a tile of 64 keys, from lse2 and delta. Query tiles in order from the first that sees
// the keys.
template <class T, int kWidth>
__global__ void __launch_bounds__(kSimtThreads, 2) attention_bwd_keys_simt_kernel(Params p, BackwardParams g) {
  __shared__ __align__(16) SimtShared<kWidth> shared;
  const Place at = locate(p, p.nk, kSimtTile, 1);
  const HeadTensors<T> x(p, g, at);
  const int j0 = at.begin, c0 = static_cast<int>(blockIdx.y) * kWidth;
  SimtFragment<1> s, dp;
  SimtFragment<kWidth / 64> db, dv;
  float lse2[4], delta[4];
  db.clear();
  dv.clear();
  for (int i0 = p.causal ? j0 : 0; i0 < at.nq && j0 < at.keys; i0 += kSimtTile) {
    score_tile(shared, p, g, at, x, i0, j0, at.keys, s, dp);
    load_statistics(g, at, i0, lse2, delta);
    softmax_gradient(lse2, delta, s, dp);
    if (x.d_out != nullptr) {
      keep_rows_first(shared, s);
      multiply_weights(shared, x.d_out, g.d_out, i0, at.nq, c0, p.dv, dv);
      __syncthreads();
    }
    keep_rows_first(shared, dp);
    multiply_weights(shared, x.a, p.a, i0, at.nq, c0, p.d, db);
    __syncthreads();
  }
  finish_keys_gradient(p, g, at, j0, c0, db, dv);
  if (g.db.data != nullptr) store_rows<T>(g.db, at, 0, j0, at.nk, c0, p.d, db);
  if (g.dv.data != nullptr) store_rows<T>(g.dv, at, 0, j0, at.nk, c0, p.dv, dv);
}

}  // namespace

void bwd_keys_simt(LaunchCall &call, DType dtype, const Params &p, const BackwardParams &g) {
  by_width_simt(call, dtype, p, p.nk, [&](auto zero, int width, dim3 grid) {
    using T = decltype(zero);
    if (width == 64) WM_LAUNCH((attention_bwd_keys_simt_kernel<T, 64>), grid, dim3(kSimtThreads), 0, call.stream(), p, g);
    else WM_LAUNCH((attention_bwd_keys_simt_kernel<T, 128>), grid, dim3(kSimtThreads), 0, call.stream(), p, g);
  });
}

}  // namespace wm::cuda::attention
