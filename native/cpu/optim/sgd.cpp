// SGD with momentum over one flat parameter group (kernels.md R2): parameters [N] and momentum [N] are changed in place.
// Inputs: parameters, momentum, sizes i32 [G], gradients. Attributes: scale, momentum, decay, rate, nesterov.
#include "native/cpu/optim/flat_parts.h"
#include "native/cpu/optim/optim_rows.h"

namespace wm {

static void sgd(OpCall &call) {
  const TensorView &flat = call.in(0), &buffer = call.in(1);
  if (buffer.dtype != flat.dtype || buffer.numel() != flat.numel()) call.reject("momentum must be as the parameters");
  const SgdNumbers numbers = {call.attr(0), call.attr(1), call.attr(2), call.attr(3), call.attr_flag(4)};
  const std::vector<FlatPiece> pieces = flat_pieces(call, 2, 3, flat);
  dispatch_flat(call, flat.dtype, [&](auto zero) {
    using T = decltype(zero);
    for_pieces(call, pieces, [&](const FlatPiece &piece) {
      optim_kernels<T>().sgd(numbers, call.in(piece.source).as<T>() + piece.offset, flat.as<T>() + piece.begin,
                             buffer.as<T>() + piece.begin, piece.count);
    });
  });
}

WM_REGISTER_CPU_OP(sgd, sgd, kInPlaceAll)

}  // namespace wm
