// out = sqrt of the sum of squares of all elements of all inputs, f64. Squares and sums are f64, so the norm of finite
// f32 values is finite: a norm that is not says that a value is not. Blocks of a fixed size, added up in order.
#include <cmath>

#include "native/cpu/optim/flat_parts.h"
#include "native/cpu/optim/optim_rows.h"

namespace wm {

static void global_norm(OpCall &call) {
  std::vector<FlatPiece> pieces;
  for (int i = 0; i < call.num_inputs(); ++i) {
    if (!call.has(i)) continue;
    const int64_t size = call.in(i).numel();
    for (int64_t at = 0; at < size; at += kFlatGrain) pieces.push_back({i, 0, at, std::min(kFlatGrain, size - at)});
  }
  double *sums = call.workspace<double>(static_cast<int64_t>(pieces.size()));
  for_pieces(call, pieces, [&](const FlatPiece &piece) {
    const TensorView &x = call.in(piece.source);
    dispatch_flat(call, x.dtype, [&](auto zero) {
      using T = decltype(zero);
      sums[&piece - pieces.data()] = optim_kernels<T>().sum_squares(x.as<T>() + piece.offset, piece.count);
    });
  });
  double total = 0;
  for (size_t i = 0; i < pieces.size(); ++i) total += sums[i];
  call.out(0).as<double>()[0] = std::sqrt(total);
}

WM_REGISTER_CPU_OP(global_norm, global_norm, kContiguous)

}  // namespace wm
