// linear_packed(x [..., K], packed u8, bias [N], residual [..., N]; n, k, activation, scale, bf16Out):
// y = act(scale x W^T + bias) + residual with a weight of pack_linear (kernels.md G1, G2; gemm.h).
#include "cuda/math/linear_packed.h"

#include "cuda/math/gemm.h"

namespace wm::cuda {

namespace {

bool is_stream(const TensorView &view) { return view.dtype == DType::f32 || view.dtype == DType::bf16; }

void linear_packed(LaunchCall &call) {
  const TensorView &x = call.in(0), &packed = call.in(1), &out = call.out(0);
  const int64_t n = call.attr_int(0), k = call.attr_int(1), activation = call.attr_int(2);
  if (n < 0 || k < 0 || n > (int64_t{1} << 31) || k > (int64_t{1} << 31)) call.reject("n and k are out of range");
  if (activation < 0 || activation > 4) call.reject("activation must be 0 to 4, got %g", call.attr(2));
  if (x.ndim < 1 || x.dim(-1) != k) call.reject("x must be [..., %lld]", static_cast<long long>(k));
  GemmArgs args;
  GemmParams &p = args.params;
  p.m = 1;
  for (int i = 0; i + 1 < x.ndim; ++i) p.m *= x.shape[i];
  p.n = n;
  p.k = k;
  if (!is_stream(x) || !is_stream(out)) call.reject("x and the output must be f32 or bf16");
  if (out.numel() != p.m * n) call.reject("the output must have %lld elements", static_cast<long long>(p.m * n));
  if (p.m == 0 || n == 0) return;
  // Both sizes are the same for k = 1: pack_linear then stores f32.
  args.narrow = k > 1 && packed.numel() == packed_linear_bytes(n, k, true);
  if (packed.numel() != packed_linear_bytes(n, k, args.narrow)) {
    call.reject("packed has %lld bytes and is no weight [%lld, %lld] of pack_linear", static_cast<long long>(packed.numel()),
                static_cast<long long>(n), static_cast<long long>(k));
  }
  args.activation = static_cast<Activation>(activation);
  p.a.data = x.data;
  p.a.dtype = x.dtype;
  p.b.data = packed.as<uint8_t>() + kPackedHeader;
  p.b.dtype = args.narrow ? DType::bf16 : DType::f32;
  p.a.row_stride = p.b.row_stride = k;
  p.a.k_stride = p.b.k_stride = 1;
  p.epilogue.scale = static_cast<float>(call.attr(3));
  if (call.has(2)) {
    if (call.in(2).dtype != DType::f32 || call.in(2).numel() != n) {
      call.reject("bias must be f32 [%lld]", static_cast<long long>(n));
    }
    p.epilogue.bias = call.in(2).data;
  }
  if (call.has(3)) {
    const TensorView &residual = call.in(3);
    if (residual.numel() != p.m * n || !is_stream(residual)) call.reject("residual must be f32 or bf16 of the output's shape");
    p.epilogue.residual = residual.data;
    p.epilogue.residual_bf16 = residual.dtype == DType::bf16;
  }
  p.epilogue.out = out.data;
  p.epilogue.out_bf16 = out.dtype == DType::bf16;
  gemm(call, args);
}

}  // namespace

WM_REGISTER_CUDA_OP(linear_packed, linear_packed, kContiguous)

}  // namespace wm::cuda
