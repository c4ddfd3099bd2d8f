// linear_bwd_weight(dz [..., N], x [..., K]; bf16) = dW [N, K], db [N]:
//   dW = sum over rows of dz^T x,  db = sum over rows of dz;  f32, all elements written (kernels.md G6).
// With `bf16` operands are f32 or bf16 each and rounded to bf16; else they share one dtype. The rows are cut into parts by
// the sizes alone, each a product with its column sums fused, added in order: the bits repeat.
#include "cuda/math/gemm.h"

namespace wm::cuda {

namespace {

// Blocks to aim for: two on each multiprocessor of an H200, on any device.
constexpr int64_t kBlocks = 264, kTile = 128;

void linear_bwd_weight(LaunchCall &call) {
  const TensorView &dz = call.in(0), &x = call.in(1), &weight = call.out(0), &bias = call.out(1);
  if (dz.ndim < 1 || x.ndim != dz.ndim) call.reject("dz must be [..., N] and x [..., K]");
  const auto narrow_type = [](DType t) { return t == DType::f32 || t == DType::bf16; };
  if (!narrow_type(dz.dtype) || !narrow_type(x.dtype) || (!call.attr_flag(0) && dz.dtype != x.dtype)) {
    call.reject("cannot multiply %s by %s on this device; f64 works on the cpu", dtype_name(dz.dtype), dtype_name(x.dtype));
  }
  GemmArgs args;
  GemmParams &p = args.params;
  p.m = dz.dim(-1);
  p.n = x.dim(-1);
  p.k = 1;
  for (int i = 0; i + 1 < dz.ndim; ++i) p.k *= dz.shape[i];
  if (x.numel() != p.k * p.n || weight.numel() != p.m * p.n || bias.numel() != p.m || weight.dtype != DType::f32 ||
      bias.dtype != DType::f32) {
    call.reject("the outputs do not fit dz and x");
  }
  args.narrow = call.attr_flag(0) || dz.dtype == DType::bf16;
  p.a.data = dz.data;
  p.a.dtype = dz.dtype;
  p.a.row_stride = 1;
  p.a.k_stride = p.m;
  p.b.data = x.data;
  p.b.dtype = x.dtype;
  p.b.row_stride = 1;
  p.b.k_stride = p.n;
  p.epilogue.out = weight.data;
  p.row_sums = bias.as<float>();
  const int64_t tiles = ((p.m + kTile - 1) / kTile) * ((p.n + kTile - 1) / kTile);
  args.parts = tiles == 0 ? 1 : kBlocks / tiles + 1;
  gemm(call, args);
}

}  // namespace

WM_REGISTER_CUDA_OP(linear_bwd_weight, linear_bwd_weight, kContiguous)

}  // namespace wm::cuda
