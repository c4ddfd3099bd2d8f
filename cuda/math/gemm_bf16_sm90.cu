// Tier 3 of the GEMM family: the launcher, and the kernels of linear (both operands K-major, all activations).
#include "cuda/math/gemm_bf16_sm90.cuh"

#include "cuda/core/tensor_map.h"

namespace wm::cuda {

namespace gemm_sm90 {

namespace {

// Coordinates: K and rows (or rows and K), inner and outer leading axis; an axis the operand lacks has size 1.
TensorMapShape operand_shape(const GemmOperand &x, const GemmParams &p, int64_t rows, int box_rows) {
  const bool along_k = x.k_stride == 1;
  const int64_t line = along_k ? x.row_stride : x.k_stride;
  TensorMapShape shape = {4, {along_k ? p.k : rows, along_k ? rows : p.k, 1, 1}, {1, line, line, line}, {64, along_k ? box_rows : kK, 1, 1}};
  for (int i = 0; i < p.leads && i < 2; ++i) {
    const int axis = p.leads - 1 - i;
    if (x.lead_stride[axis] == 0) continue;
    shape.size[2 + i] = p.lead_size[axis];
    shape.stride[2 + i] = x.lead_stride[axis];
  }
  return shape;
}

TensorMapShape output_shape(const GemmParams &p, bool out_bf16) {
  return {3, {p.n, p.m, gemm_batch(p) * p.parts}, {1, p.n, p.m * p.n}, {out_bf16 ? 64 : 32, 64, 1}};
}

int64_t tiles_of(const GemmParams &p) {
  return (p.m + kM - 1) / kM * ((p.n + kN - 1) / kN) * gemm_batch(p) * p.parts;
}

const void *output_of(const GemmParams &p) { return p.parts > 1 ? p.partial : p.epilogue.out; }

}  // namespace

Maps make_maps(const GemmParams &p, bool out_bf16) {
  Maps maps;
  maps.a = make_tensor_map(p.a.data, DType::bf16, operand_shape(p.a, p, p.m, kM), true);
  maps.b = make_tensor_map(p.b.data, DType::bf16, operand_shape(p.b, p, p.n, kN), true);
  maps.out = make_tensor_map(output_of(p), out_bf16 ? DType::bf16 : DType::f32, output_shape(p, out_bf16), true);
  Grid &grid = maps.grid;
  grid.tiles_m = static_cast<int>((p.m + kM - 1) / kM);
  grid.tiles_n = static_cast<int>((p.n + kN - 1) / kN);
  grid.batch = static_cast<int>(gemm_batch(p));
  grid.tiles = static_cast<int>(tiles_of(p));
  grid.inner_leads = p.leads > 0 ? static_cast<int>(p.lead_size[p.leads - 1]) : 1;
  grid.a_inner = p.leads > 0 && p.a.lead_stride[p.leads - 1] != 0;
  grid.b_inner = p.leads > 0 && p.b.lead_stride[p.leads - 1] != 0;
  grid.a_outer = p.leads > 1 && p.a.lead_stride[0] != 0;
  grid.b_outer = p.leads > 1 && p.b.lead_stride[0] != 0;
  return maps;
}

}  // namespace gemm_sm90

bool gemm_bf16_sm90_fits(const GemmParams &p, Activation activation) {
  using namespace gemm_sm90;
  const bool along = p.a.k_stride == 1 && p.b.k_stride == 1;
  const bool out_bf16 = p.parts == 1 && p.epilogue.out_bf16;
  // Half a tile of columns at least; fewer waste more of wgmma's 256 than mma.sync costs.
  return p.n >= kN / 2 && p.leads <= 2 && tiles_of(p) <= INT32_MAX - 1024 && (along || activation == Activation::none) &&
         epilogue_aligned(p.epilogue, p.n) && tensor_map_fits(p.a.data, DType::bf16, operand_shape(p.a, p, p.m, kM)) &&
         tensor_map_fits(p.b.data, DType::bf16, operand_shape(p.b, p, p.n, kN)) &&
         tensor_map_fits(output_of(p), out_bf16 ? DType::bf16 : DType::f32, output_shape(p, out_bf16));
}

void gemm_bf16_sm90(LaunchCall &call, const GemmParams &p, Activation activation) {
  using namespace gemm_sm90;
  if (p.a.k_stride != 1 || p.b.k_stride != 1) return launch_transposed(call, p);
  if (p.parts > 1) return launch_kernel<true, true, Activation::none, false, false>(call, p);
  dispatch_activation(activation, [&](auto chosen) {
    if (p.epilogue.out_bf16) launch_kernel<true, true, decltype(chosen)::value, true, false>(call, p);
    else launch_kernel<true, true, decltype(chosen)::value, false, false>(call, p);
  });
}

}  // namespace wm::cuda
