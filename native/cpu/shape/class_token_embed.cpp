// Token sequence of a ViT: y[n, 0] = class token + positions[0], y[n, 1 + p] = patches[n, p] + positions[1 + p].
// patches [N, P, D], class token [D], positions [1 + P, D] -> [N, 1 + P, D].
#include "native/core/shape_checks.h"
#include "native/cpu/math/rows.h"

namespace wm {

namespace {

void class_token_embed(OpCall &call) {
  const TensorView &patches = call.in(0), &token = call.in(1), &positions = call.in(2), &out = call.out(0);
  check_class_token_embed(call);
  const int64_t images = patches.shape[0], rows = patches.shape[1] + 1, width = patches.shape[2];
  dispatch_float(call, out.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = ComputeType<T>;
    const auto add = vector_ops<C>().binary[static_cast<int>(BinaryOp::add)];
    call.parallel(images * rows, row_grain(width), [&](int64_t begin, int64_t end) {
      Scratch<C> left(width), right(width), result(width);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t image = i / rows, t = i % rows;
        const T *source = t == 0 ? token.as<T>() : patches.as<T>() + (image * (rows - 1) + t - 1) * width;
        T *target = out.as<T>() + i * width;
        C *y = row_out(target, result.data());
        const C *p = row_in(positions.as<T>() + t * width, right.data(), width);
        add(row_in(source, left.data(), width), 1, p, 1, y, width);
        finish_row(target, y, width);
      }
    });
  });
}

}  // namespace

WM_REGISTER_CPU_OP(class_token_embed, class_token_embed, kContiguous)

}  // namespace wm
