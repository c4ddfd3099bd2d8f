// y = a y + b x on a flat buffer, in place: running averages of weights (a = decay, b = 1 - decay), sums of gradients,
// Muon's momentum and its step. Inputs: y [N], sizes i32 [G], the parts of x. Attributes: a, b; a = 0 does not read y.
#include "native/cpu/optim/flat_parts.h"
#include "native/cpu/optim/optim_rows.h"

namespace wm {

static void blend(OpCall &call) {
  const TensorView &flat = call.in(0);
  const std::vector<FlatPiece> pieces = flat_pieces(call, 1, 2, flat);
  dispatch_flat(call, flat.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T a = static_cast<T>(call.attr(0)), b = static_cast<T>(call.attr(1));
    for_pieces(call, pieces, [&](const FlatPiece &piece) {
      optim_kernels<T>().blend(a, b, call.in(piece.source).as<T>() + piece.offset, flat.as<T>() + piece.begin, piece.count);
    });
  });
}

WM_REGISTER_CPU_OP(blend, blend, kInPlaceAll)

}  // namespace wm
