// Attention forward, portable tier: any layout, head size and term, f32 arithmetic. Online softmax over key tiles:
//   S = A B^T;  m' = max(m, rowmax S);  O = O 2^(m - m') + P V;  l = l 2^(m - m') + rowsum P
// Floor on an H200: 4 Nq Nk d FLOP over 67 TFLOP/s. Expected limiter: shared-memory reads (two float4 for 16 FMA in S).
#include "cuda/attention/attention_epilogue.cuh"
#include "cuda/attention/attention_tile_simt.cuh"

namespace wm::cuda::attention {

namespace {

// O [B, Nq, A, dv] (=) columns [kWidth * blockIdx.y, + kWidth), LSE (=). One block a tile of 64 queries of one head and key
// range; 256 threads; 34 KB (kWidth 64) or 34.5 KB of static shared memory. Wider heads take several blocks, each with its
// own scores: the sums of one softmax row never leave a block.
template <class T, int kWidth>
__global__ void __launch_bounds__(kSimtThreads, 2) attention_fwd_simt_kernel(Params p) {
  __shared__ __align__(16) SimtShared<kWidth> shared;
  const Place at = locate(p, p.nq, kSimtTile, p.splits);
  const int i0 = at.begin, c0 = static_cast<int>(blockIdx.y) * kWidth;
  const T *a = head_rows<T>(p.a, at), *b = head_rows<T>(p.b, at), *v = head_rows<T>(p.v, at);
  const int limit = tile_key_limit(p, at, kSimtTile);
  const int begin = at.split * p.split_keys, end = min(limit, begin + p.split_keys);
  SimtFragment<kWidth / 64> o;
  RowState<4> state;
  o.clear();
  state.clear();
  for (int j0 = begin; j0 < end; j0 += kSimtTile) {
    SimtFragment<1> s;
    float factor[4];
    multiply_rows(shared, a, p.a, i0, at.nq, b, p.b, j0, end, p.d, s);
    apply_terms<true>(p, at, i0, j0, end, s);
    softmax_step(1.0f, s, state, factor);
    scale_rows(o, factor);
    keep_columns_first(shared, s);
    multiply_weights(shared, v, p.v, j0, end, c0, p.dv, o);
    __syncthreads();
  }
  if (i0 >= at.nq) return;
  finish_rows<T>(p, at, i0, c0, 1.0f, state, o);
  store_rows<T>(p.o, at, at.split * p.split_o, i0, at.nq, c0, p.dv, o);
}

template <class T, int kWidth>
void launch(LaunchCall &call, const Params &p) {
  dim3 grid = tile_grid(p, p.nq, kSimtTile, p.splits);
  grid.y = static_cast<unsigned>(max(1, (p.dv + kWidth - 1) / kWidth));
  WM_LAUNCH((attention_fwd_simt_kernel<T, kWidth>), grid, dim3(kSimtThreads), 0, call.stream(), p);
}

}  // namespace

void fwd_simt(LaunchCall &call, DType dtype, const Params &p) {
  dispatch_float(call, dtype, [&](auto zero) {
    using T = decltype(zero);
    if (p.dv <= 64) launch<T, 64>(call, p);
    else launch<T, 128>(call, p);
  });
}

}  // namespace wm::cuda::attention
