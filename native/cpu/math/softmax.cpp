// softmax and log_softmax of x / temperature over one axis, in f32 (f64 for f64). Attributes: axis, temperature.
//   y = exp((x - max) / t) / sum        log form: y = (x - max) / t - log(sum)
// Backward, from the result y:  dx = y (dy - sum(y dy)) / t      log form: dx = (dy - exp(y) sum(dy)) / t
// The last axis is worked row by row; another axis (classes of a CHW map) in column tiles, the whole axis of a tile
// staying in the second-level cache (kernels.md N3).
#include <cmath>

#include "native/cpu/math/axis_plan.h"
#include "native/cpu/math/rows.h"

namespace wm {

namespace {

constexpr int kMul = static_cast<int>(BinaryOp::mul);

template <class T, bool is_log>
void forward_rows(OpCall &call, const AxisPlan &plan, ComputeType<T> scale) {
  using C = ComputeType<T>;
  const VectorOps<C> &ops = vector_ops<C>();
  const int64_t n = plan.length;
  call.parallel(plan.outer, row_grain(n), [&](int64_t begin, int64_t end) {
    Scratch<C> wide(n), result(n);
    for (int64_t r = begin; r < end; ++r) {
      const C *x = row_in(call.in(0).as<T>() + r * n, wide.data(), n);
      T *target = call.out(0).as<T>() + r * n;
      C *y = row_out(target, result.data());
      const C top = ops.max(x, n);
      const C total = ops.exp_sum(x, top, scale, is_log ? nullptr : y, n);
      if constexpr (is_log) {
        const C log_total = std::log(total);
        ops.shift(x, &top, scale, &log_total, 0, y, n);
      } else {
        const C inverse = C(1) / total;
        ops.binary[kMul](y, 1, &inverse, 0, y, n);
      }
      finish_row(target, y, n);
    }
  });
}

// A tile of columns: [length, columns] of a map, read with row pitch plan.inner, in the compute type.
template <class T>
class ColumnTile {
 public:
  using C = ComputeType<T>;
  ColumnTile(T *base, int64_t pitch, int64_t columns, C *row) : base_(base), pitch_(pitch), columns_(columns), row_(row) {}
  const C *read(int64_t c) const { return row_in<T>(base_ + c * pitch_, row_, columns_); }
  C *begin_write(int64_t c) const { return row_out(base_ + c * pitch_, row_); }
  void end_write(int64_t c) const { finish_row(base_ + c * pitch_, row_, columns_); }

 private:
  T *base_;
  int64_t pitch_, columns_;
  C *row_;
};

// body(offset of the tile's first element, columns, scratch): over all tiles, with four scratch rows of tile width.
template <class C, class Body>
void for_each_tile(const OpCall &call, const AxisPlan &plan, const Body &body) {
  const int64_t tile = plan.tile(), tiles = plan.tiles();
  call.parallel(plan.outer * tiles, 1, [&](int64_t begin, int64_t end) {
    Scratch<C> scratch(4 * tile);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item % tiles * tile;
      const int64_t columns = first + tile < plan.inner ? tile : plan.inner - first;
      body(item / tiles * plan.length * plan.inner + first, columns, scratch.data());
    }
  });
}

template <class T, bool is_log>
void forward_columns(OpCall &call, const AxisPlan &plan, ComputeType<T> scale) {
  using C = ComputeType<T>;
  const VectorOps<C> &ops = vector_ops<C>();
  for_each_tile<C>(call, plan, [&](int64_t offset, int64_t n, C *scratch) {
    const int64_t tile = plan.tile();
    C *top = scratch, *total = scratch + tile;
    const ColumnTile<T> x(call.in(0).as<T>() + offset, plan.inner, n, scratch + 2 * tile);
    const ColumnTile<T> y(call.out(0).as<T>() + offset, plan.inner, n, scratch + 3 * tile);
    for (int64_t i = 0; i < n; ++i) total[i] = C(0);
    const C *first = x.read(0);
    for (int64_t i = 0; i < n; ++i) top[i] = first[i];
    for (int64_t c = 1; c < plan.length; ++c) {
      ops.binary[static_cast<int>(BinaryOp::maximum)](top, 1, x.read(c), 1, top, n);
    }
    // Two-byte outputs would lose the exponentials' precision between the passes, so they are formed twice.
    constexpr bool keep = !is_log && std::is_same_v<T, C>;
    for (int64_t c = 0; c < plan.length; ++c) {
      ops.exp_sum_columns(x.read(c), top, scale, keep ? y.begin_write(c) : nullptr, total, n);
    }
    for (int64_t i = 0; i < n; ++i) total[i] = is_log ? std::log(total[i]) : C(1) / total[i];
    for (int64_t c = 0; c < plan.length; ++c) {
      C *row = y.begin_write(c);
      if constexpr (is_log) {
        ops.shift(x.read(c), top, scale, total, 1, row, n);
      } else if constexpr (keep) {
        ops.binary[kMul](row, 1, total, 1, row, n);
      } else {
        const C zero = C(0);
        ops.binary[static_cast<int>(BinaryOp::sub)](x.read(c), 1, top, 1, row, n);
        ops.binary[kMul](row, 1, &scale, 0, row, n);
        ops.unary[static_cast<int>(UnaryOp::exp)](row, row, n, zero, zero);
        ops.binary[kMul](row, 1, total, 1, row, n);
      }
      y.end_write(c);
    }
  });
}

template <class T, bool is_log>
void backward_rows(OpCall &call, const AxisPlan &plan, ComputeType<T> scale) {
  using C = ComputeType<T>;
  const VectorOps<C> &ops = vector_ops<C>();
  const int64_t n = plan.length;
  call.parallel(plan.outer, row_grain(n), [&](int64_t begin, int64_t end) {
    Scratch<C> wide(n), upstream(n), result(n);
    for (int64_t r = begin; r < end; ++r) {
      const C *y = row_in(call.in(0).as<T>() + r * n, wide.data(), n);
      const C *dy = row_in(call.in(1).as<T>() + r * n, upstream.data(), n);
      T *target = call.out(0).as<T>() + r * n;
      C *dx = row_out(target, result.data());
      const C total = is_log ? ops.sum(dy, n) : ops.dot(y, dy, n);
      (is_log ? ops.log_softmax_bwd : ops.softmax_bwd)(y, dy, &total, 0, scale, dx, n);
      finish_row(target, dx, n);
    }
  });
}

template <class T, bool is_log>
void backward_columns(OpCall &call, const AxisPlan &plan, ComputeType<T> scale) {
  using C = ComputeType<T>;
  const VectorOps<C> &ops = vector_ops<C>();
  for_each_tile<C>(call, plan, [&](int64_t offset, int64_t n, C *scratch) {
    const int64_t tile = plan.tile();
    C *total = scratch;
    const ColumnTile<T> y(call.in(0).as<T>() + offset, plan.inner, n, scratch + tile);
    const ColumnTile<T> dy(call.in(1).as<T>() + offset, plan.inner, n, scratch + 2 * tile);
    const ColumnTile<T> dx(call.out(0).as<T>() + offset, plan.inner, n, scratch + 3 * tile);
    for (int64_t i = 0; i < n; ++i) total[i] = C(0);
    for (int64_t c = 0; c < plan.length; ++c) {
      const C *up = dy.read(c);
      if constexpr (is_log) ops.binary[static_cast<int>(BinaryOp::add)](total, 1, up, 1, total, n);
      else ops.multiply_add(y.read(c), up, total, n);
    }
    for (int64_t c = 0; c < plan.length; ++c) {
      C *row = dx.begin_write(c);
      (is_log ? ops.log_softmax_bwd : ops.softmax_bwd)(y.read(c), dy.read(c), total, 1, scale, row, n);
      dx.end_write(c);
    }
  });
}

template <bool is_log, bool is_backward>
void softmax_op(OpCall &call) {
  const TensorView &x = call.in(0), &out = call.out(0);
  const AxisPlan plan = plan_axis(call, x, call.attr_int(0));
  if (out.dtype != x.dtype || out.numel() != x.numel()) call.reject("output must match the input");
  if (is_backward && (call.in(1).dtype != x.dtype || call.in(1).numel() != x.numel())) call.reject("dy must match y");
  if (plan.empty()) return;
  const double scale = 1.0 / call.attr(1);
  dispatch_float(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto s = static_cast<ComputeType<T>>(scale);
    if constexpr (is_backward) {
      if (plan.inner == 1) backward_rows<T, is_log>(call, plan, s);
      else backward_columns<T, is_log>(call, plan, s);
    } else {
      if (plan.inner == 1) forward_rows<T, is_log>(call, plan, s);
      else forward_columns<T, is_log>(call, plan, s);
    }
  });
}

}  // namespace

WM_REGISTER_CPU_OP(softmax, (softmax_op<false, false>), kContiguous)
WM_REGISTER_CPU_OP(log_softmax, (softmax_op<true, false>), kContiguous)
WM_REGISTER_CPU_OP(softmax_bwd, (softmax_op<false, true>), kContiguous)
WM_REGISTER_CPU_OP(log_softmax_bwd, (softmax_op<true, true>), kContiguous)

}  // namespace wm
