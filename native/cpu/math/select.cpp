// Choosing: argmax over an axis (first index wins), topk along the last axis (descending, the lower index first among
// equals), and where(mask, a, b) with broadcasting. A NaN counts as larger than any number.
#include <algorithm>
#include <numeric>

#include "native/cpu/math/axis_plan.h"
#include "native/cpu/math/rows.h"
#include "native/cpu/shape/move.h"

namespace wm {

namespace {

template <class C>
int32_t first_max(const VectorOps<C> &ops, const C *x, int64_t n) {
  const C top = ops.max(x, n);
  int64_t i = 0;
  if (top != top) {
    while (x[i] == x[i]) ++i;
  } else {
    while (x[i] != top) ++i;
  }
  return static_cast<int32_t>(i);
}

template <class T>
void argmax_rows(OpCall &call, const AxisPlan &plan) {
  using C = ComputeType<T>;
  const VectorOps<C> &ops = vector_ops<C>();
  const int64_t n = plan.length;
  call.parallel(plan.outer, row_grain(n), [&](int64_t begin, int64_t end) {
    Scratch<C> wide(n);
    for (int64_t r = begin; r < end; ++r) {
      call.out(0).as<int32_t>()[r] = first_max(ops, row_in(call.in(0).as<T>() + r * n, wide.data(), n), n);
    }
  });
}

template <class T>
void argmax_columns(OpCall &call, const AxisPlan &plan) {
  using C = ComputeType<T>;
  const int64_t tile = plan.tile();
  call.parallel(plan.outer * plan.tiles(), 1, [&](int64_t begin, int64_t end) {
    Scratch<C> wide(tile), top(tile);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item % plan.tiles() * tile, group = item / plan.tiles();
      const int64_t n = first + tile < plan.inner ? tile : plan.inner - first;
      const T *x = call.in(0).as<T>() + group * plan.length * plan.inner + first;
      int32_t *index = call.out(0).as<int32_t>() + group * plan.inner + first;
      C *best = top.data();
      const C *row = row_in(x, wide.data(), n);
      for (int64_t i = 0; i < n; ++i) {
        best[i] = row[i];
        index[i] = 0;
      }
      for (int64_t c = 1; c < plan.length; ++c) {
        row = row_in(x + c * plan.inner, wide.data(), n);
        const auto label = static_cast<int32_t>(c);
        for (int64_t i = 0; i < n; ++i) {
          // False once best is NaN, true for a NaN in x.
          const bool better = !(row[i] <= best[i]) && best[i] == best[i];
          best[i] = better ? row[i] : best[i];
          index[i] = better ? label : index[i];
        }
      }
    }
  });
}

void argmax(OpCall &call) {
  const TensorView &x = call.in(0), &out = call.out(0);
  const AxisPlan plan = plan_axis(call, x, call.attr_int(0));
  if (out.dtype != DType::i32 || out.numel() != plan.outer * plan.inner) call.reject("output must be i32, axis dropped");
  if (plan.outer == 0 || plan.inner == 0) return;
  if (plan.length < 1 || plan.length > INT32_MAX) call.reject("axis of length %lld", static_cast<long long>(plan.length));
  dispatch_float(call, x.dtype, [&](auto zero) {
    if (plan.inner == 1) argmax_rows<decltype(zero)>(call, plan);
    else argmax_columns<decltype(zero)>(call, plan);
  });
}

template <class T>
void topk_rows(OpCall &call, int64_t k) {
  using C = ComputeType<T>;
  const TensorView &x = call.in(0);
  const int64_t n = x.dim(-1), rows = n == 0 ? 0 : x.numel() / n;
  call.parallel(rows, row_grain(n * 8), [&](int64_t begin, int64_t end) {
    Scratch<C> wide(n);
    Scratch<int32_t> order(n);
    for (int64_t r = begin; r < end; ++r) {
      const T *source = x.as<T>() + r * n;
      const C *row = row_in(source, wide.data(), n);
      int32_t *index = order.data();
      std::iota(index, index + n, 0);
      std::partial_sort(index, index + k, index + n, [row](int32_t i, int32_t j) {
        const bool nan_i = row[i] != row[i], nan_j = row[j] != row[j];
        if (nan_i || nan_j) return nan_i && nan_j ? i < j : nan_i;
        return row[i] != row[j] ? row[i] > row[j] : i < j;
      });
      for (int64_t j = 0; j < k; ++j) {
        call.out(0).as<T>()[r * k + j] = source[index[j]];
        call.out(1).as<int32_t>()[r * k + j] = index[j];
      }
    }
  });
}

void topk(OpCall &call) {
  const TensorView &x = call.in(0), &values = call.out(0), &indices = call.out(1);
  const int64_t k = call.attr_int(0);
  if (x.ndim < 1 || k < 0 || k > x.dim(-1) || x.dim(-1) > INT32_MAX) call.reject("k is outside the last axis");
  const int64_t rows = x.dim(-1) == 0 ? 0 : x.numel() / x.dim(-1);
  if (values.numel() != rows * k || indices.numel() != rows * k) call.reject("output sizes");
  if (values.dtype != x.dtype || indices.dtype != DType::i32) call.reject("output dtypes");
  if (k == 0) return;
  dispatch_float(call, x.dtype, [&](auto zero) { topk_rows<decltype(zero)>(call, k); });
}

void where(OpCall &call) {
  const TensorView &mask = call.in(0), &a = call.in(1), &b = call.in(2), &out = call.out(0);
  if (dtype_size(mask.dtype) != 1) call.reject("the mask must be bool or u8, got %s", dtype_name(mask.dtype));
  if (a.dtype != b.dtype || out.dtype != a.dtype) call.reject("dtypes differ");
  const StridedLayout layout(call, out, {&mask, &a, &b});
  dispatch_size(call, a.dtype, [&](auto zero) {
    using T = decltype(zero);
    for_each_block(call, layout, [&](const StridedCursor &at, int64_t begin, int64_t n) {
      uint8_t flags[kBlock];
      alignas(64) T left[kBlock], right[kBlock];
      const Operand<uint8_t> m = fetch(mask.as<uint8_t>(), at, 0, n, flags);
      const Operand<T> x = fetch(a.as<T>(), at, 1, n, left), y = fetch(b.as<T>(), at, 2, n, right);
      T *z = out.as<T>() + begin;
      for (int64_t i = 0; i < n; ++i) z[i] = m.data[i * m.step] != 0 ? x.data[i * x.step] : y.data[i * y.step];
    });
  });
}

}  // namespace

WM_REGISTER_CPU_OP(argmax, argmax, kContiguous)
WM_REGISTER_CPU_OP(topk, topk, kContiguous)
WM_REGISTER_CPU_OP(where, where, kStrided)

}  // namespace wm
