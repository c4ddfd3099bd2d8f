// pack_linear(weight [N, K] f32, bf16 or f16; bf16) -> u8 [bytes]: panels of a weight for linear_packed, in
// the form the tier in use multiplies fastest. An empty weight packs to no bytes.
#include <cstring>

#include "native/cpu/math/gemm.h"
#include "native/cpu/math/linear_packed.h"

namespace wm {

static void pack_linear(OpCall &call) {
  const TensorView &weight = call.in(0), &out = call.out(0);
  if (weight.ndim != 2) call.reject("weight must be [N, K], got rank %d", weight.ndim);
  if (weight.dtype != DType::f32 && weight.dtype != DType::bf16 && weight.dtype != DType::f16) {
    call.reject("weight must be f32, bf16 or f16, got %s", dtype_name(weight.dtype));
  }
  const bool pairs = call.attr_flag(0);
  const int64_t n = weight.dim(0), k = weight.dim(1);
  if (n == 0 || k == 0) return;
  PackedLinearHeader header = {};
  std::memcpy(header.magic, kPackedMagic, sizeof header.magic);
  header.tile_cols = gemm_kernels().tile_cols;
  header.bf16 = pairs ? 1 : 0;
  header.n = n;
  header.k = k;
  header.bytes = static_cast<int64_t>(sizeof header) + gemm_packed_bytes(n, k, pairs);
  if (out.numel() != header.bytes) {
    call.reject("the output must have %lld bytes, got %lld", static_cast<long long>(header.bytes),
                static_cast<long long>(out.numel()));
  }
  GemmOperand operand;
  operand.data = weight.data;
  operand.dtype = weight.dtype;
  operand.row_stride = weight.stride[0];
  operand.k_stride = weight.stride[1];
  uint8_t *bytes = out.as<uint8_t>();
  std::memcpy(bytes, &header, sizeof header);
  // Narrow panels leave part of the last 48 columns unused: zero, so that equal weights give equal bytes.
  const int64_t used = (n + header.tile_cols - 1) / header.tile_cols * header.tile_cols;
  const int64_t used_bytes = used * (pairs ? (k + 1) / 2 : k) * 4;
  std::memset(bytes + sizeof header + used_bytes, 0,
              static_cast<size_t>(header.bytes) - sizeof header - static_cast<size_t>(used_bytes));
  gemm_pack_all(call, operand, n, k, pairs, bytes + sizeof header);
}
WM_REGISTER_CPU_OP(pack_linear, pack_linear, kStrided)

}  // namespace wm
