// y = f(a, b) with NumPy broadcasting: add, sub, mul, div, maximum, minimum (floats), and the comparisons equal, less,
// greater (any dtype) whose result is bool. Operands may have any strides.
#include "native/cpu/shape/strided.h"

namespace wm {

namespace {

template <class T>
void binary(OpCall &call, BinaryOp op) {
  const TensorView &a = call.in(0), &b = call.in(1), &out = call.out(0);
  const StridedLayout layout(call, out, {&a, &b});
  using C = ComputeType<T>;
  const auto function = vector_ops<C>().binary[static_cast<int>(op)];
  for_each_block(call, layout, [&](const StridedCursor &at, int64_t begin, int64_t n) {
    alignas(64) C left[kBlock], right[kBlock], result[kBlock];
    const Operand<C> x = fetch(a.as<T>(), at, 0, n, left), y = fetch(b.as<T>(), at, 1, n, right);
    T *z = out.as<T>() + begin;
    function(x.data, x.step, y.data, y.step, block_out(z, result), n);
    finish_block(z, result, n);
  });
}

template <BinaryOp op>
void binary_op(OpCall &call) {
  if (call.in(0).dtype != call.in(1).dtype || call.out(0).dtype != call.in(0).dtype) call.reject("dtypes differ");
  dispatch_float(call, call.in(0).dtype, [&](auto zero) { binary<decltype(zero)>(call, op); });
}

enum class Comparison { equal, less, greater };

template <class C>
bool holds(Comparison comparison, C x, C y) {
  switch (comparison) {
    case Comparison::equal: return x == y;
    case Comparison::less: return x < y;
    case Comparison::greater: return x > y;
  }
  return false;
}

template <class T, Comparison comparison>
void compare(OpCall &call) {
  const TensorView &a = call.in(0), &b = call.in(1), &out = call.out(0);
  const StridedLayout layout(call, out, {&a, &b});
  using C = ComputeType<T>;
  for_each_block(call, layout, [&](const StridedCursor &at, int64_t begin, int64_t n) {
    alignas(64) C left[kBlock], right[kBlock];
    const Operand<C> x = fetch(a.as<T>(), at, 0, n, left), y = fetch(b.as<T>(), at, 1, n, right);
    uint8_t *z = out.as<uint8_t>() + begin;
    for (int64_t i = 0; i < n; ++i) {
      z[i] = holds(comparison, x.data[i * x.step], y.data[i * y.step]) ? uint8_t{1} : uint8_t{0};
    }
  });
}

template <Comparison comparison>
void comparison_op(OpCall &call) {
  if (call.in(0).dtype != call.in(1).dtype) call.reject("dtypes differ");
  if (dtype_size(call.out(0).dtype) != 1) call.reject("the result must be bool");
  switch (call.in(0).dtype) {
    case DType::i32: return compare<int32_t, comparison>(call);
    case DType::u8:
    case DType::boolean: return compare<uint8_t, comparison>(call);
    default: dispatch_float(call, call.in(0).dtype, [&](auto zero) { compare<decltype(zero), comparison>(call); });
  }
}

}  // namespace

WM_REGISTER_CPU_OP(add, binary_op<BinaryOp::add>, kStrided)
WM_REGISTER_CPU_OP(sub, binary_op<BinaryOp::sub>, kStrided)
WM_REGISTER_CPU_OP(mul, binary_op<BinaryOp::mul>, kStrided)
WM_REGISTER_CPU_OP(div, binary_op<BinaryOp::div>, kStrided)
WM_REGISTER_CPU_OP(maximum, binary_op<BinaryOp::maximum>, kStrided)
WM_REGISTER_CPU_OP(minimum, binary_op<BinaryOp::minimum>, kStrided)
WM_REGISTER_CPU_OP(equal, comparison_op<Comparison::equal>, kStrided)
WM_REGISTER_CPU_OP(less, comparison_op<Comparison::less>, kStrided)
WM_REGISTER_CPU_OP(greater, comparison_op<Comparison::greater>, kStrided)

}  // namespace wm
