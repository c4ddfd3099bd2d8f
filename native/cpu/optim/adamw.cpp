// AdamW over one flat parameter group (kernels.md R1): parameters [N], moments [2, N] and, if given, a bf16 copy of the
// parameters [N] are changed in place in one pass; 28 bytes a parameter, 30 with the copy. Inputs: parameters, moments,
// half, sizes i32 [G], gradients. Attributes: scale, beta1, beta2, keep, rate, correction, eps (optim_rows.h).
#include "native/cpu/optim/flat_parts.h"
#include "native/cpu/optim/optim_rows.h"

namespace wm {

static void adamw(OpCall &call) {
  const TensorView &flat = call.in(0), &moments = call.in(1);
  const int64_t n = flat.numel();
  if (moments.dtype != flat.dtype || moments.numel() != 2 * n) call.reject("moments must be [2, N] of the parameters' dtype");
  uint16_t *half = nullptr;
  if (call.has(2)) {
    if (call.in(2).dtype != DType::bf16 || call.in(2).numel() != n) call.reject("the copy must be bf16 [N]");
    half = call.in(2).as<uint16_t>();
  }
  const AdamwNumbers numbers = {call.attr(0), call.attr(1), call.attr(2), call.attr(3),
                                call.attr(4), call.attr(5), call.attr(6)};
  const std::vector<FlatPiece> pieces = flat_pieces(call, 3, 4, flat);
  dispatch_flat(call, flat.dtype, [&](auto zero) {
    using T = decltype(zero);
    const OptimKernels<T> &kernels = optim_kernels<T>();
    T *p = flat.as<T>(), *m = moments.as<T>();
    for_pieces(call, pieces, [&](const FlatPiece &piece) {
      kernels.adamw(numbers, call.in(piece.source).as<T>() + piece.offset, p + piece.begin, m + piece.begin,
                    m + n + piece.begin, half == nullptr ? nullptr : half + piece.begin, piece.count);
    });
  });
}

WM_REGISTER_CPU_OP(adamw, adamw, kInPlaceAll)

}  // namespace wm
