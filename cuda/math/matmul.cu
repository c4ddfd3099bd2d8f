// matmul(a [..., M, K], b [..., K, N]; transposeA, transposeB): the last two axes multiply, leading axes are equal or absent
// on one side. A flag reads the last two axes of its operand swapped; kernels follow strides, so neither a flag nor a strided
// view makes a copy (but for bf16 rows that are off 16-byte lines).
#include "cuda/math/gemm.h"

namespace wm::cuda {

namespace {

GemmOperand operand(const TensorView &view, int row_axis, int k_axis) {
  GemmOperand x;
  x.data = view.data;
  x.dtype = view.dtype;
  x.row_stride = view.stride[row_axis];
  x.k_stride = view.stride[k_axis];
  for (int axis = 0; axis + 2 < view.ndim; ++axis) x.lead_stride[axis] = view.stride[axis];
  return x;
}

// Whether leading axes and the row axis can be walked with one stride, so that all matrices are one tall one.
bool rows_merge(const TensorView &view) {
  for (int axis = 0; axis + 2 < view.ndim; ++axis) {
    if (view.stride[axis] != view.stride[axis + 1] * view.shape[axis + 1] && view.shape[axis] != 1) return false;
  }
  return true;
}

void matmul(LaunchCall &call) {
  const TensorView &a = call.in(0), &b = call.in(1), &out = call.out(0);
  const bool transpose_a = call.attr_flag(0), transpose_b = call.attr_flag(1);
  if (a.ndim < 2 || b.ndim < 2) call.reject("a and b must have two axes at least");
  if (a.dtype != b.dtype || out.dtype != a.dtype) call.reject("a, b and the output must share one dtype");
  if (a.dtype != DType::f32 && a.dtype != DType::bf16) {
    call.reject("takes f32 or bf16 on this device, got %s; f64 works on the cpu", dtype_name(a.dtype));
  }
  const int a_row = a.ndim - (transpose_a ? 1 : 2), a_k = a.ndim - (transpose_a ? 2 : 1);
  const int b_col = b.ndim - (transpose_b ? 2 : 1), b_k = b.ndim - (transpose_b ? 1 : 2);
  GemmArgs args;
  GemmParams &p = args.params;
  p.m = a.shape[a_row];
  p.k = a.shape[a_k];
  p.n = b.shape[b_col];
  if (b.shape[b_k] != p.k) {
    call.reject("the inner sizes %lld and %lld differ", static_cast<long long>(p.k), static_cast<long long>(b.shape[b_k]));
  }
  if (a.ndim > 2 && b.ndim > 2) {
    bool equal = a.ndim == b.ndim;
    for (int axis = 0; equal && axis + 2 < a.ndim; ++axis) equal = a.shape[axis] == b.shape[axis];
    if (!equal) call.reject("leading axes must be equal, or absent on one side");
  }
  p.a = operand(a, a_row, a_k);
  p.b = operand(b, b_col, b_k);
  if (a.ndim > 2 && b.ndim == 2 && !transpose_a && rows_merge(a)) {
    for (int axis = 0; axis + 2 < a.ndim; ++axis) p.m *= a.shape[axis];
  } else {
    const TensorView &tall = a.ndim >= b.ndim ? a : b;
    p.leads = tall.ndim - 2;
    for (int axis = 0; axis < p.leads; ++axis) p.lead_size[axis] = tall.shape[axis];
  }
  if (out.numel() != gemm_batch(p) * p.m * p.n) call.reject("the output does not fit a and b");
  args.narrow = a.dtype == DType::bf16;
  p.epilogue.out = out.data;
  p.epilogue.out_bf16 = args.narrow;
  // The weight gradient's form: K is the long axis. N stands for M too, so that the parts do not follow the rows.
  if (transpose_a && p.leads == 0) args.parts = 264 / (((p.n + 127) / 128) * ((p.n + 127) / 128) + 1) + 1;
  gemm(call, args);
}

}  // namespace

WM_REGISTER_CUDA_OP(matmul, matmul, kStrided)

}  // namespace wm::cuda
