// Tier 2 of the GEMM family: bf16 operands, f32 sums, mma.sync (capability 8.0 and later). Floor: 2 M N K FLOP at the tensor
// cores' rate, or the bytes of A, B and the outputs; expected limiter for large K: issue of mma and ldmatrix (a step of 16
// along K: 16 mma to 6 ldmatrix a warp).
#include "cuda/math/gemm_bf16.cuh"

namespace wm::cuda {

namespace {

using LargeTile = BlockShape<128, 128, 2, 4>;  // 256 threads, 64 KiB, two blocks a multiprocessor
using SmallTile = BlockShape<64, 64, 2, 2>;    // 128 threads, 32 KiB

template <class Shape, bool kAlongKa, bool kAlongKb, Activation kActivation, bool kSums>
void launch_tiles(LaunchCall &call, const GemmParams &p) {
  const int64_t tiles_m = (p.m + Shape::kM - 1) / Shape::kM, tiles_n = gemm_tiles_n(p, Shape::kN), batch = gemm_batch(p);
  WM_LAUNCH((gemm_bf16_kernel<Shape, kAlongKa, kAlongKb, kActivation, kSums>),
            dim3(blocks_for(tiles_m * tiles_n * batch * p.parts, 1)), dim3(Shape::kThreads), Shape::kShared, call.stream(), p,
            tiles_m, tiles_n, batch, epilogue_aligned(p.epilogue, p.n));
}

template <class Shape>
void launch_layout(LaunchCall &call, const GemmParams &p, Activation activation) {
  const bool along_a = p.a.k_stride == 1, along_b = p.b.k_stride == 1;
  constexpr Activation kNone = Activation::none;
  if (along_a && along_b && p.row_sums == nullptr) {
    return dispatch_activation(activation, [&](auto chosen) {
      launch_tiles<Shape, true, true, decltype(chosen)::value, false>(call, p);
    });
  }
  if (activation != kNone) call.reject("activations need operands with consecutive k");
  if (p.row_sums != nullptr) {
    if (along_a || along_b) call.reject("row sums need operands with consecutive rows");
    return launch_tiles<Shape, false, false, kNone, true>(call, p);
  }
  if (along_a) return launch_tiles<Shape, true, false, kNone, false>(call, p);
  if (along_b) return launch_tiles<Shape, false, true, kNone, false>(call, p);
  launch_tiles<Shape, false, false, kNone, false>(call, p);
}

}  // namespace

void gemm_bf16(LaunchCall &call, const GemmParams &params, Activation activation) {
  const int64_t large = (params.m + 127) / 128 * ((params.n + 127) / 128) * gemm_batch(params) * params.parts;
  if (large >= 128) launch_layout<LargeTile>(call, params, activation);
  else launch_layout<SmallTile>(call, params, activation);
}

}  // namespace wm::cuda
