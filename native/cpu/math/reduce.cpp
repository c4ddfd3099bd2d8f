// sum, mean, max, min over a set of axes (attribute: bit mask), and sum_to, the sum over broadcast axes.
// The input is cut into parts by its shape alone; parts are reduced in parallel and joined in order, so a result does
// not depend on the number of threads. Sums of many short rows are compensated (Neumaier).
#include <cmath>
#include <limits>

#include "native/core/shape_checks.h"
#include "native/cpu/math/rows.h"

namespace wm {

namespace {

enum class Reduction { sum, mean, max, min };

// Rows of `inner` elements, kept or reduced as a whole; `kept` and `reduced` are the other dimensions of each kind.
struct ReducePlan {
  bool inner_reduced = false;
  int64_t inner = 1;
  int kept_dims = 0, reduced_dims = 0;
  int64_t kept_shape[kMaxDims], kept_step[kMaxDims], reduced_shape[kMaxDims], reduced_step[kMaxDims];
  int64_t kept = 1, reduced = 1;

  static int64_t offset(int64_t index, int dims, const int64_t *shape, const int64_t *step) {
    int64_t at = 0;
    for (int d = dims - 1; d >= 0; --d) {
      at += index % shape[d] * step[d];
      index /= shape[d];
    }
    return at;
  }
  int64_t kept_offset(int64_t i) const { return offset(i, kept_dims, kept_shape, kept_step); }
  int64_t reduced_offset(int64_t i) const { return offset(i, reduced_dims, reduced_shape, reduced_step); }
  int64_t reduced_elements() const { return inner_reduced ? reduced * inner : reduced; }
};

// Neighbouring axes of one kind become one.
ReducePlan plan_reduction(const TensorView &x, uint32_t mask) {
  int count = 0;
  int64_t shape[kMaxDims];
  bool is_reduced[kMaxDims];
  for (int d = 0; d < x.ndim; ++d) {
    if (x.shape[d] == 1) continue;
    const bool r = (mask >> d & 1u) != 0;
    if (count > 0 && is_reduced[count - 1] == r) {
      shape[count - 1] *= x.shape[d];
    } else {
      shape[count] = x.shape[d];
      is_reduced[count++] = r;
    }
  }
  ReducePlan plan;
  if (count == 0) return plan;
  plan.inner = shape[count - 1];
  plan.inner_reduced = is_reduced[count - 1];
  for (int d = 0; d < count - 1; ++d) {
    int64_t step = 1;
    for (int e = d + 1; e < count; ++e) step *= shape[e];
    if (is_reduced[d]) {
      plan.reduced_shape[plan.reduced_dims] = shape[d];
      plan.reduced_step[plan.reduced_dims++] = step;
      plan.reduced *= shape[d];
    } else {
      plan.kept_shape[plan.kept_dims] = shape[d];
      plan.kept_step[plan.kept_dims++] = step;
      plan.kept *= shape[d];
    }
  }
  return plan;
}

template <class C>
C merge(Reduction how, C a, C b) {
  if (how == Reduction::max) return a > b || a != a ? a : b;
  if (how == Reduction::min) return a < b || a != a ? a : b;
  return a + b;
}

template <class C>
struct CompensatedSum {
  C sum = 0, lost = 0;
  void add(C x) {
    const C next = sum + x;
    if (std::isfinite(next)) lost += std::abs(sum) >= std::abs(x) ? (sum - next) + x : (x - next) + sum;
    sum = next;
  }
  C value() const { return sum + lost; }
};

constexpr int64_t kSegment = 8192;       // elements of a row reduced by one call
constexpr int64_t kPartElements = 65536;  // elements of a part where rows are reduced
constexpr int64_t kPartRows = 256;       // rows of a part where columns are kept
constexpr int64_t kColumns = 512;        // columns worked at a time

// partial [kept, parts]: whole rows are reduced to numbers.
template <class T>
int64_t reduce_rows(OpCall &call, const ReducePlan &plan, Reduction how, ComputeType<T> *&partial) {
  using C = ComputeType<T>;
  const VectorOps<C> &ops = vector_ops<C>();
  const int64_t segments = (plan.inner + kSegment - 1) / kSegment;
  const int64_t pieces = plan.reduced * segments;
  const int64_t piece = plan.inner < kSegment ? plan.inner : kSegment;
  const int64_t share = kPartElements / piece, parts = (pieces + share - 1) / share;
  partial = call.workspace<C>(plan.kept * parts);
  const int64_t part_elements = (pieces < share ? pieces : share) * piece;
  call.parallel(plan.kept * parts, row_grain(part_elements), [&](int64_t begin, int64_t end) {
    alignas(64) C wide[kSegment];
    for (int64_t item = begin; item < end; ++item) {
      const T *x = call.in(0).as<T>() + plan.kept_offset(item / parts);
      const int64_t first = item % parts * share, last = first + share < pieces ? first + share : pieces;
      CompensatedSum<C> total;
      C best = 0;
      for (int64_t p = first; p < last; ++p) {
        const int64_t from = p % segments * kSegment;
        const int64_t n = from + kSegment < plan.inner ? kSegment : plan.inner - from;
        const C *row = row_in(x + plan.reduced_offset(p / segments) + from, wide, n);
        if (how == Reduction::sum || how == Reduction::mean) {
          total.add(ops.sum(row, n));
        } else {
          const C value = how == Reduction::max ? ops.max(row, n) : ops.min(row, n);
          best = p == first ? value : merge(how, best, value);
        }
      }
      partial[item] = how == Reduction::sum || how == Reduction::mean ? total.value() : best;
    }
  });
  return parts;
}

// partial [kept, parts, inner]: rows are joined column by column.
template <class T>
int64_t reduce_columns(OpCall &call, const ReducePlan &plan, Reduction how, ComputeType<T> *&partial) {
  using C = ComputeType<T>;
  const BinaryOp op = how == Reduction::max   ? BinaryOp::maximum
                      : how == Reduction::min ? BinaryOp::minimum
                                              : BinaryOp::add;
  const auto join = vector_ops<C>().binary[static_cast<int>(op)];
  const int64_t parts = (plan.reduced + kPartRows - 1) / kPartRows;
  const int64_t tiles = (plan.inner + kColumns - 1) / kColumns;
  partial = call.workspace<C>(plan.kept * parts * plan.inner);
  const int64_t rows_of_part = plan.reduced < kPartRows ? plan.reduced : kPartRows;
  const int64_t columns_of_tile = plan.inner < kColumns ? plan.inner : kColumns;
  call.parallel(plan.kept * parts * tiles, row_grain(rows_of_part * columns_of_tile), [&](int64_t begin, int64_t end) {
    alignas(64) C wide[kColumns];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first_column = item % tiles * kColumns, part = item / tiles % parts, k = item / tiles / parts;
      const int64_t n = first_column + kColumns < plan.inner ? kColumns : plan.inner - first_column;
      const T *x = call.in(0).as<T>() + plan.kept_offset(k) + first_column;
      C *acc = partial + (k * parts + part) * plan.inner + first_column;
      const int64_t first = part * kPartRows;
      const int64_t last = first + kPartRows < plan.reduced ? first + kPartRows : plan.reduced;
      for (int64_t r = first; r < last; ++r) {
        const C *row = row_in(x + plan.reduced_offset(r), wide, n);
        if (r == first) std::memcpy(acc, row, static_cast<size_t>(n) * sizeof(C));
        else join(acc, 1, row, 1, acc, n);
      }
    }
  });
  return parts;
}

template <class T>
void reduce(OpCall &call, uint32_t mask, Reduction how) {
  using C = ComputeType<T>;
  const TensorView &x = call.in(0), &out = call.out(0);
  T *y = out.as<T>();
  const int64_t size = out.numel();
  if (x.numel() == 0) {
    if (size != 0 && how != Reduction::sum && how != Reduction::mean) call.reject("no elements to choose from");
    const float value = how == Reduction::sum ? 0.0f : std::numeric_limits<float>::quiet_NaN();
    for (int64_t i = 0; i < size; ++i) y[i] = from_float<T>(value);
    return;
  }
  const ReducePlan plan = plan_reduction(x, mask);
  const int64_t inner = plan.inner_reduced ? 1 : plan.inner;
  if (size != plan.kept * inner) call.reject("output size does not fit the axes");
  C *partial = nullptr;
  const int64_t parts =
      plan.inner_reduced ? reduce_rows<T>(call, plan, how, partial) : reduce_columns<T>(call, plan, how, partial);
  const C divisor = how == Reduction::mean ? static_cast<C>(plan.reduced_elements()) : C(1);
  call.parallel(size, kElementGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const C *column = partial + i / inner * parts * inner + i % inner;
      C value = column[0];
      for (int64_t p = 1; p < parts; ++p) value = merge(how, value, column[p * inner]);
      if constexpr (std::is_same_v<T, C>) y[i] = value / divisor;
      else y[i] = from_float<T>(value / divisor);
    }
  });
}

void reduce_any(OpCall &call, uint32_t mask, Reduction how) {
  if (call.in(0).dtype != call.out(0).dtype) call.reject("dtypes differ");
  dispatch_float(call, call.in(0).dtype, [&](auto zero) { reduce<decltype(zero)>(call, mask, how); });
}

template <Reduction how>
void reduce_op(OpCall &call) {
  reduce_any(call, static_cast<uint32_t>(call.attr_int(0)), how);
}

void sum_to(OpCall &call) { reduce_any(call, read_sum_to(call), Reduction::sum); }

}  // namespace

WM_REGISTER_CPU_OP(sum, reduce_op<Reduction::sum>, kContiguous)
WM_REGISTER_CPU_OP(mean, reduce_op<Reduction::mean>, kContiguous)
WM_REGISTER_CPU_OP(max, reduce_op<Reduction::max>, kContiguous)
WM_REGISTER_CPU_OP(min, reduce_op<Reduction::min>, kContiguous)
WM_REGISTER_CPU_OP(sum_to, sum_to, kContiguous)

}  // namespace wm
