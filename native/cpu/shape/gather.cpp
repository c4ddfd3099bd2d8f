// gather: y[i, :] = x[index[i], :] for x [V, D], i32 indices of any shape; any dtype.
// scatter_add, its gradient: dx[v, :] = sum of dy[i, :] over index[i] = v, in the order of i. Positions are sorted by
// row first, so each row is summed by one thread in that order.
// take_along: y[..., k] = x[..., index[..., k]] along the last axis, and take_along_bwd, which adds back.
#include <vector>

#include "native/core/refused_values.h"
#include "native/cpu/math/rows.h"
#include "native/cpu/shape/move.h"

namespace wm {

namespace {

void check_indices(const OpCall &call, const int32_t *index, int64_t count, int64_t limit) {
  for (int64_t i = 0; i < count; ++i) {
    if (index[i] < 0 || index[i] >= limit) call.reject(refused_index(index[i], i, limit));
  }
}

const int32_t *indices_of(const OpCall &call, int input) {
  if (call.in(input).dtype != DType::i32) call.reject("indices must be i32");
  return call.in(input).as<int32_t>();
}

void gather(OpCall &call) {
  const TensorView &x = call.in(0), &out = call.out(0);
  if (x.ndim != 2 || out.dtype != x.dtype) call.reject("x must be [V, D]");
  const int32_t *index = indices_of(call, 1);
  const int64_t count = call.in(1).numel(), row = x.shape[1] * static_cast<int64_t>(dtype_size(x.dtype));
  if (out.numel() != count * x.shape[1]) call.reject("output size");
  check_indices(call, index, count, x.shape[0]);
  const int64_t grain = 64 * 1024 / (row + 1) + 1;
  call.parallel(count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::memcpy(out.as<uint8_t>() + i * row, x.as<uint8_t>() + index[i] * row, static_cast<size_t>(row));
    }
  });
}

// order: positions by row, stable; start[v] .. start[v+1]: the positions of row v (counting sort).
void positions_by_row(const int32_t *index, int64_t count, int64_t rows, std::vector<int64_t> &start,
                      std::vector<int64_t> &order) {
  start.assign(static_cast<size_t>(rows) + 1, 0);
  order.resize(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) ++start[static_cast<size_t>(index[i]) + 1];
  for (size_t v = 0; v < static_cast<size_t>(rows); ++v) start[v + 1] += start[v];
  std::vector<int64_t> next(start.begin(), start.end() - 1);
  for (int64_t i = 0; i < count; ++i) order[static_cast<size_t>(next[static_cast<size_t>(index[i])]++)] = i;
}

template <class T>
void scatter_rows(OpCall &call, const int32_t *index, int64_t count) {
  const TensorView &dy = call.in(0), &out = call.out(0);
  using C = ComputeType<T>;
  const int64_t rows = out.shape[0], width = out.shape[1];
  std::vector<int64_t> start, order;
  positions_by_row(index, count, rows, start, order);
  const auto add = vector_ops<C>().binary[static_cast<int>(BinaryOp::add)];
  call.parallel(rows, 32 * 1024 / (width + 1) + 1, [&](int64_t begin, int64_t end) {
    Scratch<C> sum(width), term(width);
    for (int64_t v = begin; v < end; ++v) {
      T *y = out.as<T>() + v * width;
      C *acc = row_out(y, sum.data());
      std::memset(acc, 0, static_cast<size_t>(width) * sizeof(C));
      for (int64_t k = start[static_cast<size_t>(v)]; k < start[static_cast<size_t>(v) + 1]; ++k) {
        const C *g = row_in(dy.as<T>() + order[static_cast<size_t>(k)] * width, term.data(), width);
        add(acc, 1, g, 1, acc, width);
      }
      finish_row(y, acc, width);
    }
  });
}

// inputs dy [..., D], indices [...]; output [V, D]
void scatter_add(OpCall &call) {
  const TensorView &dy = call.in(0), &out = call.out(0);
  const int32_t *index = indices_of(call, 1);
  const int64_t count = call.in(1).numel();
  if (out.ndim != 2 || out.dtype != dy.dtype || dy.numel() != count * out.shape[1]) call.reject("shapes do not fit");
  check_indices(call, index, count, out.shape[0]);
  dispatch_float(call, dy.dtype, [&](auto zero) { scatter_rows<decltype(zero)>(call, index, count); });
}

// Rows of x and of the indices, with matching leading dimensions.
struct AlongRows {
  int64_t rows, from, to;
};

AlongRows along_rows(const OpCall &call, const TensorView &wide, const TensorView &index, const TensorView &same) {
  if (wide.ndim < 1 || index.ndim != wide.ndim || same.numel() != index.numel()) call.reject("shapes do not fit");
  const AlongRows plan = {index.dim(-1) == 0 ? 0 : index.numel() / index.dim(-1), wide.dim(-1), index.dim(-1)};
  if (plan.rows > 0 && wide.numel() != plan.rows * plan.from) call.reject("leading dimensions differ");
  check_indices(call, indices_of(call, 1), index.numel(), plan.from);
  return plan;
}

void take_along(OpCall &call) {
  const TensorView &x = call.in(0), &out = call.out(0);
  const AlongRows plan = along_rows(call, x, call.in(1), out);
  if (out.dtype != x.dtype) call.reject("dtypes differ");
  const int32_t *index = indices_of(call, 1);
  dispatch_size(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    call.parallel(plan.rows, 16 * 1024 / (plan.to + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const T *source = x.as<T>() + r * plan.from;
        for (int64_t k = r * plan.to; k < (r + 1) * plan.to; ++k) out.as<T>()[k] = source[index[k]];
      }
    });
  });
}

// inputs dy [..., K], indices [..., K]; output [..., N]
void take_along_bwd(OpCall &call) {
  const TensorView &dy = call.in(0), &out = call.out(0);
  const int32_t *index = indices_of(call, 1);
  zero_bytes(call, out.data, static_cast<int64_t>(out.bytes()));
  const AlongRows plan = along_rows(call, out, call.in(1), dy);
  if (out.dtype != dy.dtype) call.reject("dtypes differ");
  dispatch_float(call, dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = ComputeType<T>;
    call.parallel(plan.rows, 16 * 1024 / (plan.to + plan.from + 1) + 1, [&](int64_t begin, int64_t end) {
      Scratch<C> sum(plan.from), term(plan.to);
      for (int64_t r = begin; r < end; ++r) {
        T *y = out.as<T>() + r * plan.from;
        C *acc = row_out(y, sum.data());
        std::memset(acc, 0, static_cast<size_t>(plan.from) * sizeof(C));
        const C *g = row_in(dy.as<T>() + r * plan.to, term.data(), plan.to);
        for (int64_t k = 0; k < plan.to; ++k) acc[index[r * plan.to + k]] += g[k];
        finish_row(y, acc, plan.from);
      }
    });
  });
}

}  // namespace

WM_REGISTER_CPU_OP(gather, gather, kContiguous)
WM_REGISTER_CPU_OP(scatter_add, scatter_add, kContiguous)
WM_REGISTER_CPU_OP(take_along, take_along, kContiguous)
WM_REGISTER_CPU_OP(take_along_bwd, take_along_bwd, kContiguous)

}  // namespace wm
