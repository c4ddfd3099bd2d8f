// linear_packed(x [..., K], packed u8, bias [N], residual [..., N]; n, k, activation, scale, bf16Out):
// y = act(scale x W^T + bias) + residual with a weight from pack_linear (kernels.md G1, G2). One summation
// order per output (gemm.h), so a row does not depend on what shares its batch.
#include "native/cpu/math/linear_packed.h"

#include <cstring>

#include "native/cpu/math/gemm.h"

namespace wm {

static PackedLinearHeader read_header(const OpCall &call, const TensorView &packed, int64_t n, int64_t k) {
  PackedLinearHeader header;
  if (packed.numel() < static_cast<int64_t>(sizeof header)) {
    call.reject("packed holds %lld bytes and is no weight of pack_linear",
                static_cast<long long>(packed.numel()));
  }
  std::memcpy(&header, packed.data, sizeof header);
  if (std::memcmp(header.magic, kPackedMagic, sizeof header.magic) != 0) {
    call.reject("packed is no weight of pack_linear (its first bytes differ)");
  }
  if (header.n != n || header.k != k) {
    call.reject("packed holds a weight [%lld, %lld], the call wants [%lld, %lld]",
                static_cast<long long>(header.n), static_cast<long long>(header.k), static_cast<long long>(n),
                static_cast<long long>(k));
  }
  if (header.tile_cols != gemm_kernels().tile_cols) {
    call.reject("packed has panels of %d columns, this instruction tier uses %d: pack the weight again",
                static_cast<int>(header.tile_cols), gemm_kernels().tile_cols);
  }
  const int64_t bytes = static_cast<int64_t>(sizeof header) + gemm_packed_bytes(n, k, header.bf16 != 0);
  if (header.bytes != bytes || packed.numel() != bytes) {
    call.reject("packed must have %lld bytes, got %lld", static_cast<long long>(bytes),
                static_cast<long long>(packed.numel()));
  }
  return header;
}

static void linear_packed(OpCall &call) {
  const TensorView &x = call.in(0), &packed = call.in(1), &out = call.out(0);
  const int64_t n = call.attr_int(0), k = call.attr_int(1), activation = call.attr_int(2);
  if (n < 0 || k < 0 || n > (int64_t{1} << 31) || k > (int64_t{1} << 31))
    call.reject("n and k are out of range");
  if (activation < 0 || activation > 4) call.reject("activation must be 0 to 4, got %g", call.attr(2));
  if (x.ndim < 1 || x.dim(-1) != k) call.reject("x must be [..., %lld]", static_cast<long long>(k));
  if (x.dtype != DType::f32 && x.dtype != DType::bf16)
    call.reject("x must be f32 or bf16, got %s", dtype_name(x.dtype));
  int64_t rows = 1;
  for (int i = 0; i + 1 < x.ndim; ++i) rows *= x.shape[i];
  if (out.numel() != rows * n)
    call.reject("the output must have %lld elements", static_cast<long long>(rows * n));
  if (rows == 0 || n == 0) return;

  GemmArgs args;
  args.m = rows;
  args.n = n;
  args.k = k;
  args.a.data = x.data;
  args.a.dtype = x.dtype;
  args.a.row_stride = k;
  args.a.k_stride = 1;
  if (k > 0) {
    const PackedLinearHeader header = read_header(call, packed, n, k);
    args.pairs = header.bf16 != 0;
  }
  args.b.data = packed.as<uint8_t>() + sizeof(PackedLinearHeader);
  args.b.packed = true;
  args.scale = call.attr(3);
  args.activation = static_cast<Activation>(activation);
  if (call.has(2)) {
    const TensorView &bias = call.in(2);
    if (bias.dtype != DType::f32 || bias.numel() != n)
      call.reject("bias must be f32 [%lld]", static_cast<long long>(n));
    args.bias = bias.as<float>();
  }
  if (call.has(3)) {
    const TensorView &residual = call.in(3);
    if (residual.numel() != rows * n || (residual.dtype != DType::f32 && residual.dtype != DType::bf16)) {
      call.reject("residual must be f32 or bf16 of the output's shape");
    }
    args.residual = residual.data;
    args.residual_dtype = residual.dtype;
  }
  args.out = out.data;
  args.out_dtype = out.dtype;
  if (out.dtype != DType::f32 && out.dtype != DType::bf16) call.reject("the output must be f32 or bf16");
  gemm(call, args);
}
WM_REGISTER_CPU_OP(linear_packed, linear_packed, kContiguous)

}  // namespace wm
