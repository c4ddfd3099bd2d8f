// y = x in another dtype. Floats round to nearest even; a float becomes an integer by truncation and saturation (NaN
// gives 0); anything becomes bool by "is not zero".
#include <limits>

#include "native/cpu/shape/strided.h"

namespace wm {

namespace {

struct Bool {
  uint8_t value;
};

template <class F>
void dispatch_any(const OpCall &call, DType dtype, F &&body) {
  switch (dtype) {
    case DType::i32: return body(int32_t{});
    case DType::u8: return body(uint8_t{});
    case DType::boolean: return body(Bool{});
    default: return dispatch_float(call, dtype, body);
  }
}

template <class To, class From>
To float_to_int(From x) {
  if (!(x == x)) return 0;
  if (x <= static_cast<From>(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
  if (x >= static_cast<From>(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
  return static_cast<To>(x);
}

template <class To, class From>
To convert(From x) {
  if constexpr (std::is_same_v<From, Bool>) {
    return convert<To>(static_cast<uint8_t>(x.value != 0));
  } else if constexpr (std::is_same_v<From, bf16> || std::is_same_v<From, f16>) {
    return convert<To>(to_float(x));
  } else if constexpr (std::is_same_v<To, Bool>) {
    return {static_cast<uint8_t>(x != 0)};
  } else if constexpr (std::is_same_v<To, bf16> || std::is_same_v<To, f16>) {
    return from_float<To>(static_cast<float>(x));
  } else if constexpr (std::is_floating_point_v<To>) {
    return static_cast<To>(x);
  } else if constexpr (std::is_floating_point_v<From>) {
    return float_to_int<To>(x);
  } else {
    constexpr int64_t low = std::numeric_limits<To>::min(), high = std::numeric_limits<To>::max();
    const int64_t wide = x;
    return static_cast<To>(wide < low ? low : wide > high ? high : wide);
  }
}

template <class To, class From>
void convert_row(const From *x, To *y, int64_t n) {
  constexpr bool from_half = std::is_same_v<From, bf16> || std::is_same_v<From, f16>;
  constexpr bool to_half = std::is_same_v<To, bf16> || std::is_same_v<To, f16>;
  if constexpr (from_half && std::is_same_v<To, float>) widen(x, y, n);
  else if constexpr (to_half && std::is_same_v<From, float>) narrow(x, y, n);
  else {
    for (int64_t i = 0; i < n; ++i) y[i] = convert<To>(x[i]);
  }
}

void cast(OpCall &call) {
  const TensorView &in = call.in(0), &out = call.out(0);
  if (in.numel() != out.numel()) call.reject("input and output sizes differ");
  dispatch_any(call, in.dtype, [&](auto from) {
    dispatch_any(call, out.dtype, [&](auto to) {
      using From = decltype(from);
      using To = decltype(to);
      const From *x = in.as<From>();
      To *y = out.as<To>();
      call.parallel(in.numel(), kElementGrain, [&](int64_t begin, int64_t end) {
        convert_row(x + begin, y + begin, end - begin);
      });
    });
  });
}

}  // namespace

WM_REGISTER_CPU_OP(cast, cast, kContiguous)

}  // namespace wm
