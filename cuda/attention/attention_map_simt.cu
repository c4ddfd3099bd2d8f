// Maps over queries and keys, portable tier: P = 2^(exponent - log2 mass) from a finished softmax's LSE (GradCAM, text to
// image attention), or dP = dO V^T + dMaps before the softmax Jacobian. Serves kernels.md A3 and the dP export of A4.
// Floor: 4 B A Nq Nk bytes written. Expected limiter on long rows: those bytes.
#include "cuda/attention/attention_tile_simt.cuh"

namespace wm::cuda::attention {

namespace {

// out [B, A, Nq, Nk] (=, or += with accumulate). One block a tile of 64 queries (blockIdx.x, of one head) and 64 keys
// (blockIdx.y); 256 threads; 34 KB of static shared memory.
template <class T>
__global__ void __launch_bounds__(kSimtThreads, 2) attention_map_simt_kernel(Params p, MapParams m) {
  __shared__ __align__(16) SimtShared<64> shared;
  const Place at = locate(p, p.nq, kSimtTile, 1);
  const int i0 = at.begin, j0 = static_cast<int>(blockIdx.y) * kSimtTile;
  SimtFragment<1> s;
  if (p.a.data != nullptr) {
    multiply_rows(shared, head_rows<T>(p.a, at), p.a, i0, at.nq, head_rows<T>(p.b, at), p.b, j0, at.nk, p.d, s);
  } else {
    s.clear();
  }
  if (m.lse != nullptr) apply_terms<true>(p, at, i0, j0, at.nk, s);
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const int i = i0 + s.row(r);
    if (i >= at.nq) continue;
    float *out = m.out + (at.stats + i) * p.nk;
    const float lse = m.lse != nullptr ? m.lse[at.stats + i] * kLog2e : 0.0f;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const int j = j0 + s.column(c);
      if (j >= at.nk) continue;
      float x = s.at(r, c);
      // A row without any allowed key has LSE -inf and no probability.
      if (m.lse != nullptr) x = lse == negative_infinity() ? 0.0f : exp2_approx(x - lse);
      if (m.d_maps.data != nullptr) x += head_rows<float>(m.d_maps, at)[i * m.d_maps.row + j * m.d_maps.column];
      out[j] = m.accumulate ? out[j] + x : x;
    }
  }
}

}  // namespace

void map_simt(LaunchCall &call, DType dtype, const Params &p, const MapParams &m) {
  dim3 grid = tile_grid(p, p.nq, kSimtTile, 1);
  grid.y = blocks_for(p.nk, kSimtTile);
  dispatch_float(call, dtype, [&](auto zero) {
    using T = decltype(zero);
    WM_LAUNCH((attention_map_simt_kernel<T>), grid, dim3(kSimtThreads), 0, call.stream(), p, m);
  });
}

}  // namespace wm::cuda::attention
