// Tensors from nothing: fill (value, dtype, rank, sizes), iota (start, step, dtype, rank, sizes), random_uniform and
// random_normal (seedLow, seedHigh, offset, a, b, dtype, rank, sizes: uniform in [a, b), or mean a and deviation b).
// Random element i takes its number from Philox block offset + i / 4; arithmetic is f64, so every device agrees.
#include <cmath>

#include "native/core/philox.h"
#include "native/cpu/shape/strided.h"

namespace wm {

namespace {

template <class F>
void dispatch_number(const OpCall &call, DType dtype, F &&body) {
  switch (dtype) {
    case DType::i32: return body(int32_t{});
    case DType::u8:
    case DType::boolean: return body(uint8_t{});
    default: return dispatch_float(call, dtype, body);
  }
}

template <class T>
T number(double x) {
  if constexpr (std::is_same_v<T, bf16> || std::is_same_v<T, f16>) return from_float<T>(static_cast<float>(x));
  else return static_cast<T>(x);
}

// value(i) for every element, as doubles in the integers' range (the cards check it).
template <class Value>
void generate(const OpCall &call, const Value &value) {
  const TensorView &out = call.out(0);
  dispatch_number(call, out.dtype, [&](auto zero) {
    using T = decltype(zero);
    call.parallel(out.numel(), kElementGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) out.as<T>()[i] = number<T>(value(i));
    });
  });
}

double in_range(const OpCall &call, double x) {
  const DType dtype = call.out(0).dtype;
  if (dtype == DType::i32 && !(x >= -2147483648.0 && x <= 2147483647.0)) call.reject("%g does not fit i32", x);
  if (dtype_size(dtype) == 1 && !(x >= 0.0 && x <= 255.0)) call.reject("%g does not fit %s", x, dtype_name(dtype));
  return x;
}

void fill(OpCall &call) {
  const TensorView &out = call.out(0);
  const double value = in_range(call, call.attr(0));
  dispatch_number(call, out.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T x = number<T>(value);
    call.parallel(out.numel(), kElementGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) out.as<T>()[i] = x;
    });
  });
}

void iota(OpCall &call) {
  const double start = call.attr(0), step = call.attr(1);
  const int64_t n = call.out(0).numel();
  if (n > 0) {
    in_range(call, start);
    in_range(call, start + step * static_cast<double>(n - 1));
  }
  generate(call, [&](int64_t i) { return start + step * static_cast<double>(i); });
}

struct Stream {
  uint32_t key_low, key_high;
  uint64_t offset;
  double a, b;
  explicit Stream(const OpCall &call)
      : key_low(static_cast<uint32_t>(call.attr_int(0))), key_high(static_cast<uint32_t>(call.attr_int(1))),
        offset(static_cast<uint64_t>(call.attr_int(2))), a(call.attr(3)), b(call.attr(4)) {}
  PhiloxBlock block(int64_t i) const { return philox_4x32(key_low, key_high, offset + static_cast<uint64_t>(i) / 4); }
};

void random_uniform(OpCall &call) {
  const Stream stream(call);
  generate(call, [&](int64_t i) {
    // 24 bits: exact in f32, never 1.
    const double unit = (stream.block(i).word[i % 4] >> 8) * 0x1p-24;
    return stream.a + (stream.b - stream.a) * unit;
  });
}

// Box-Muller on the pairs (0, 1) and (2, 3) of a block; (word + 1/2) 2^-32 is never 0.
void random_normal(OpCall &call) {
  const Stream stream(call);
  generate(call, [&](int64_t i) {
    const PhiloxBlock block = stream.block(i);
    const int pair = static_cast<int>(i % 4) / 2 * 2;
    const double radius = std::sqrt(-2.0 * std::log((block.word[pair] + 0.5) * 0x1p-32));
    const double angle = 6.283185307179586 * ((block.word[pair + 1] + 0.5) * 0x1p-32);
    return stream.a + stream.b * radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle));
  });
}

}  // namespace

WM_REGISTER_CPU_OP(fill, fill, kContiguous)
WM_REGISTER_CPU_OP(iota, iota, kContiguous)
WM_REGISTER_CPU_OP(random_uniform, random_uniform, kContiguous)
WM_REGISTER_CPU_OP(random_normal, random_normal, kContiguous)

}  // namespace wm
