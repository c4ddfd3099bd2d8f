// Cross-entropy of each row against a class index, softmax fused: loss[r] = log sum_c exp(x[r, c]) - x[r, target[r]],
// f32 (f64 for f64 logits). A row whose target is `ignore` has loss 0 and gradient 0. Attribute: ignore.
// Backward: dx[r, c] = (softmax(x[r])[c] - (c == target[r])) dy[r].
#include <cmath>

#include "native/core/refused_values.h"
#include "native/cpu/math/rows.h"

namespace wm {

namespace {

struct Problem {
  int64_t rows, classes, ignore;
  const int32_t *target;
};

Problem make_problem(const OpCall &call) {
  const TensorView &x = call.in(0), &target = call.in(1);
  if (x.ndim != 2 || target.dtype != DType::i32 || target.numel() != x.shape[0]) {
    call.reject("logits must be [R, C] and targets i32 [R]");
  }
  const Problem p = {x.shape[0], x.shape[1], call.attr_int(0), target.as<int32_t>()};
  for (int64_t r = 0; r < p.rows; ++r) {
    const int32_t t = p.target[r];
    if (t != p.ignore && (t < 0 || t >= p.classes)) call.reject(refused_target(t, r, p.classes, p.ignore));
  }
  return p;
}

DType loss_dtype(DType logits) { return logits == DType::f64 ? DType::f64 : DType::f32; }

void cross_entropy(OpCall &call) {
  const Problem p = make_problem(call);
  const TensorView &x = call.in(0), &out = call.out(0);
  if (out.numel() != p.rows || out.dtype != loss_dtype(x.dtype)) call.reject("loss must be [R]");
  dispatch_float(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = ComputeType<T>;
    const VectorOps<C> &ops = vector_ops<C>();
    call.parallel(p.rows, row_grain(p.classes), [&](int64_t begin, int64_t end) {
      Scratch<C> wide(p.classes);
      for (int64_t r = begin; r < end; ++r) {
        const int32_t t = p.target[r];
        if (t == p.ignore) {
          out.as<C>()[r] = C(0);
          continue;
        }
        const C *row = row_in(x.as<T>() + r * p.classes, wide.data(), p.classes);
        const C top = ops.max(row, p.classes);
        out.as<C>()[r] = std::log(ops.exp_sum(row, top, C(1), nullptr, p.classes)) + (top - row[t]);
      }
    });
  });
}

// inputs logits, targets, dy [R]; output: gradient of the logits
void cross_entropy_bwd(OpCall &call) {
  const Problem p = make_problem(call);
  const TensorView &x = call.in(0), &dy = call.in(2), &out = call.out(0);
  if (dy.numel() != p.rows || dy.dtype != loss_dtype(x.dtype)) call.reject("dy must be [R]");
  if (out.dtype != x.dtype || out.numel() != x.numel()) call.reject("output must match the logits");
  dispatch_float(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = ComputeType<T>;
    const VectorOps<C> &ops = vector_ops<C>();
    call.parallel(p.rows, row_grain(p.classes), [&](int64_t begin, int64_t end) {
      Scratch<C> wide(p.classes), result(p.classes);
      for (int64_t r = begin; r < end; ++r) {
        T *target = out.as<T>() + r * p.classes;
        C *dx = row_out(target, result.data());
        const int32_t t = p.target[r];
        if (t == p.ignore) {
          for (int64_t c = 0; c < p.classes; ++c) dx[c] = C(0);
        } else {
          const C *row = row_in(x.as<T>() + r * p.classes, wide.data(), p.classes);
          const C up = dy.as<C>()[r];
          const C total = ops.exp_sum(row, ops.max(row, p.classes), C(1), dx, p.classes), scale = up / total;
          ops.binary[static_cast<int>(BinaryOp::mul)](dx, 1, &scale, 0, dx, p.classes);
          dx[t] -= up;
        }
        finish_row(target, dx, p.classes);
      }
    });
  });
}

}  // namespace

WM_REGISTER_CPU_OP(cross_entropy, cross_entropy, kContiguous)
WM_REGISTER_CPU_OP(cross_entropy_bwd, cross_entropy_bwd, kContiguous)

}  // namespace wm
