// matmul(a [..., M, K], b [..., K, N]; transposeA, transposeB): the last two axes multiply, leading axes are
// equal or absent on one side. A flag reads the last two axes of its operand swapped; packing follows
// strides, so neither a flag nor a strided view makes a copy.
#include <vector>

#include "native/cpu/math/gemm.h"

namespace wm {

// Element offsets of all matrices of a view over its leading axes, in row-major order.
static std::vector<int64_t> matrix_offsets(const TensorView &view) {
  std::vector<int64_t> offsets = {0};
  for (int axis = 0; axis + 2 < view.ndim; ++axis) {
    std::vector<int64_t> next;
    next.reserve(offsets.size() * static_cast<size_t>(view.shape[axis]));
    for (const int64_t base : offsets) {
      for (int64_t i = 0; i < view.shape[axis]; ++i) next.push_back(base + i * view.stride[axis]);
    }
    offsets.swap(next);
  }
  return offsets;
}

// True if the leading axes and the row axis can be walked with one stride, so that all matrices are one tall
// one.
static bool rows_merge(const TensorView &view) {
  for (int axis = 0; axis + 2 < view.ndim; ++axis) {
    if (view.stride[axis] != view.stride[axis + 1] * view.shape[axis + 1] && view.shape[axis] != 1)
      return false;
  }
  return true;
}

static void matmul(OpCall &call) {
  const TensorView &a = call.in(0), &b = call.in(1), &out = call.out(0);
  const bool transpose_a = call.attr_flag(0), transpose_b = call.attr_flag(1);
  if (a.ndim < 2 || b.ndim < 2) call.reject("a and b must have two axes at least");
  if (a.dtype != b.dtype || out.dtype != a.dtype) call.reject("a, b and the output must share one dtype");
  if (a.dtype != DType::f32 && a.dtype != DType::bf16 && a.dtype != DType::f64) {
    call.reject("takes f32, bf16 or f64, got %s", dtype_name(a.dtype));
  }
  const int a_row = a.ndim - (transpose_a ? 1 : 2), a_k = a.ndim - (transpose_a ? 2 : 1);
  const int b_col = b.ndim - (transpose_b ? 2 : 1), b_k = b.ndim - (transpose_b ? 1 : 2);
  GemmArgs args;
  args.m = a.shape[a_row];
  args.k = a.shape[a_k];
  args.n = b.shape[b_col];
  if (b.shape[b_k] != args.k) {
    call.reject("the inner sizes %lld and %lld differ", static_cast<long long>(args.k),
                static_cast<long long>(b.shape[b_k]));
  }
  if (a.ndim > 2 && b.ndim > 2) {
    bool equal = a.ndim == b.ndim;
    for (int axis = 0; equal && axis + 2 < a.ndim; ++axis) equal = a.shape[axis] == b.shape[axis];
    if (!equal) call.reject("leading axes must be equal, or absent on one side");
  }
  args.a.data = a.data;
  args.b.data = b.data;
  args.a.dtype = args.b.dtype = a.dtype;
  args.a.row_stride = a.stride[a_row];
  args.a.k_stride = a.stride[a_k];
  args.b.row_stride = b.stride[b_col];
  args.b.k_stride = b.stride[b_k];
  args.out = out.data;
  args.out_dtype = out.dtype;
  args.pairs = a.dtype == DType::bf16;
  std::vector<int64_t> a_offsets, b_offsets;
  if (a.ndim > 2 && b.ndim == 2 && !transpose_a && rows_merge(a)) {
    for (int axis = 0; axis + 2 < a.ndim; ++axis) args.m *= a.shape[axis];
  } else {
    if (a.ndim > 2) a_offsets = matrix_offsets(a);
    if (b.ndim > 2) b_offsets = matrix_offsets(b);
    if (!a_offsets.empty() || a.ndim > 2) args.batch = static_cast<int64_t>(a_offsets.size());
    if (!b_offsets.empty() || b.ndim > 2) args.batch = static_cast<int64_t>(b_offsets.size());
    args.a.offsets = a.ndim > 2 ? a_offsets.data() : nullptr;
    args.b.offsets = b.ndim > 2 ? b_offsets.data() : nullptr;
  }
  if (out.numel() != args.batch * args.m * args.n) call.reject("the output does not fit a and b");
  if (a.dtype == DType::f64) return gemm_f64(call, args, {});
  gemm(call, args);
}
WM_REGISTER_CPU_OP(matmul, matmul, kStrided)

}  // namespace wm
