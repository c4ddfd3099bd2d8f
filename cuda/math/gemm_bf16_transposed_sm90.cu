// Tier 3 of the GEMM family with MN-major operands: gradients of linear and matmul's transposes. No activations.
#include "cuda/math/gemm_bf16_sm90.cuh"

namespace wm::cuda::gemm_sm90 {

namespace {

template <bool kAlongKa, bool kAlongKb>
void launch_layout(LaunchCall &call, const GemmParams &p) {
  if (p.parts == 1 && p.epilogue.out_bf16) launch_kernel<kAlongKa, kAlongKb, Activation::none, true, false>(call, p);
  else launch_kernel<kAlongKa, kAlongKb, Activation::none, false, false>(call, p);
}

}  // namespace

void launch_transposed(LaunchCall &call, const GemmParams &p) {
  const bool along_a = p.a.k_stride == 1, along_b = p.b.k_stride == 1;
  if (p.row_sums != nullptr) {
    // Weight gradients alone ask for row sums: both operands have consecutive rows, the output is f32.
    return launch_kernel<false, false, Activation::none, false, true>(call, p);
  }
  if (along_a) return launch_layout<true, false>(call, p);
  if (along_b) return launch_layout<false, true>(call, p);
  launch_layout<false, false>(call, p);
}

}  // namespace wm::cuda::gemm_sm90
