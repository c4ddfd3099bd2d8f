// Scaling of rows. l2_normalise: y = x / max(|x|, eps) over the last axis; its gradient is
//   dx = (dy - y <y, dy>) / |x|, or dy / eps where |x| <= eps.        Attribute: eps
// min_max_scale: y = (x - min) / (max - min + eps) over the last `dims` axes; a constant map gives 0.
//   Attributes: dims, eps
#include <cmath>

#include "native/cpu/math/rows.h"

namespace wm {

namespace {

constexpr int kMul = static_cast<int>(BinaryOp::mul);
constexpr int kAdd = static_cast<int>(BinaryOp::add);

template <class T>
void normalise_rows(OpCall &call) {
  using C = ComputeType<T>;
  const VectorOps<C> &ops = vector_ops<C>();
  const TensorView &x = call.in(0);
  const int64_t n = x.dim(-1), rows = n == 0 ? 0 : x.numel() / n;
  const C eps = static_cast<C>(call.attr(0));
  call.parallel(rows, row_grain(n), [&](int64_t begin, int64_t end) {
    Scratch<C> wide(n), result(n);
    for (int64_t r = begin; r < end; ++r) {
      const C *row = row_in(x.as<T>() + r * n, wide.data(), n);
      T *target = call.out(0).as<T>() + r * n;
      C *y = row_out(target, result.data());
      const C norm = std::sqrt(ops.dot(row, row, n)), inverse = C(1) / (norm > eps ? norm : eps);
      ops.binary[kMul](row, 1, &inverse, 0, y, n);
      finish_row(target, y, n);
    }
  });
}

template <class T>
void normalise_rows_bwd(OpCall &call) {
  using C = ComputeType<T>;
  const VectorOps<C> &ops = vector_ops<C>();
  const TensorView &x = call.in(0), &dy = call.in(1);
  const int64_t n = x.dim(-1), rows = n == 0 ? 0 : x.numel() / n;
  const C eps = static_cast<C>(call.attr(0));
  call.parallel(rows, row_grain(n), [&](int64_t begin, int64_t end) {
    Scratch<C> wide(n), upstream(n), along(n), result(n);
    for (int64_t r = begin; r < end; ++r) {
      const C *row = row_in(x.as<T>() + r * n, wide.data(), n);
      const C *g = row_in(dy.as<T>() + r * n, upstream.data(), n);
      T *target = call.out(0).as<T>() + r * n;
      C *dx = row_out(target, result.data());
      const C norm = std::sqrt(ops.dot(row, row, n)), inverse = C(1) / (norm > eps ? norm : eps);
      const C share = norm > eps ? -ops.dot(row, g, n) * inverse * inverse * inverse : C(0);
      ops.binary[kMul](row, 1, &share, 0, along.data(), n);
      ops.binary[kMul](g, 1, &inverse, 0, dx, n);
      ops.binary[kAdd](dx, 1, along.data(), 1, dx, n);
      finish_row(target, dx, n);
    }
  });
}

void check_rows(const OpCall &call, const TensorView &x) {
  if (x.ndim < 1) call.reject("x must have a last axis");
  for (int i = 0; i < call.num_inputs(); ++i) {
    if (call.in(i).dtype != x.dtype || call.in(i).numel() != x.numel()) call.reject("inputs must match");
  }
  if (call.out(0).dtype != x.dtype || call.out(0).numel() != x.numel()) call.reject("output must match x");
}

void l2_normalise(OpCall &call) {
  check_rows(call, call.in(0));
  dispatch_float(call, call.in(0).dtype, [&](auto zero) { normalise_rows<decltype(zero)>(call); });
}

void l2_normalise_bwd(OpCall &call) {
  check_rows(call, call.in(0));
  dispatch_float(call, call.in(0).dtype, [&](auto zero) { normalise_rows_bwd<decltype(zero)>(call); });
}

void min_max_scale(OpCall &call) {
  const TensorView &x = call.in(0);
  check_rows(call, x);
  const int64_t dims = call.attr_int(0);
  if (dims < 1 || dims > x.ndim) call.reject("dims %lld for rank %d", static_cast<long long>(dims), x.ndim);
  int64_t n = 1;
  for (int d = x.ndim - static_cast<int>(dims); d < x.ndim; ++d) n *= x.shape[d];
  const int64_t maps = n == 0 ? 0 : x.numel() / n;
  dispatch_float(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = ComputeType<T>;
    const VectorOps<C> &ops = vector_ops<C>();
    call.parallel(maps, row_grain(n), [&](int64_t begin, int64_t end) {
      Scratch<C> wide(n), result(n);
      for (int64_t r = begin; r < end; ++r) {
        const C *map = row_in(x.as<T>() + r * n, wide.data(), n);
        T *target = call.out(0).as<T>() + r * n;
        C *y = row_out(target, result.data());
        const C low = ops.min(map, n), range = ops.max(map, n) - low, none = C(0);
        // `range != 0` keeps NaN: a map with a NaN is NaN throughout.
        const C scale = range != C(0) ? C(1) / (range + static_cast<C>(call.attr(1))) : C(0);
        ops.shift(map, &low, scale, &none, 0, y, n);
        finish_row(target, y, n);
      }
    });
  });
}

}  // namespace

WM_REGISTER_CPU_OP(l2_normalise, l2_normalise, kContiguous)
WM_REGISTER_CPU_OP(l2_normalise_bwd, l2_normalise_bwd, kContiguous)
WM_REGISTER_CPU_OP(min_max_scale, min_max_scale, kContiguous)

}  // namespace wm
