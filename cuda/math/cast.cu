// y = x in another dtype. Floats round to nearest even; a float becomes an integer by truncation and saturation (NaN
// gives 0); anything becomes bool by "is not zero". f64 is cast too: some ops leave their result in it.
// Takes any strides, unlike the CPU's kernel: a copy before it would double the bytes.
// Floor: x and y once at the memory's bandwidth. Kernel: elementwise.cuh.
#include <limits>
#include <type_traits>

#include "cuda/math/elementwise.cuh"

namespace wm::cuda {

namespace {

struct Bool {
  uint8_t value;
};

template <class T>
constexpr bool kIsHalf = std::is_same_v<T, bf16> || std::is_same_v<T, f16>;

template <class T>
constexpr T kLow = std::numeric_limits<T>::min();
template <class T>
constexpr T kHigh = std::numeric_limits<T>::max();

template <class F>
void dispatch_any(const LaunchCall &call, DType dtype, F &&body) {
  switch (dtype) {
    case DType::i32: return body(int32_t{});
    case DType::u8: return body(uint8_t{});
    case DType::boolean: return body(Bool{});
    case DType::f64: return body(double{});
    default: return dispatch_float(call, dtype, body);
  }
}

template <class To, class From>
__device__ To float_to_int(From x) {
  constexpr To low = kLow<To>, high = kHigh<To>;
  if (!(x == x)) return 0;
  if (x <= static_cast<From>(low)) return low;
  if (x >= static_cast<From>(high)) return high;
  return static_cast<To>(x);
}

template <class To, class From>
__device__ To convert(From x) {
  if constexpr (std::is_same_v<From, Bool>) {
    return convert<To>(static_cast<uint8_t>(x.value != 0));
  } else if constexpr (kIsHalf<From>) {
    return convert<To>(to_float(x));
  } else if constexpr (std::is_same_v<To, Bool>) {
    return {static_cast<uint8_t>(x != 0)};
  } else if constexpr (kIsHalf<To>) {
    return from_float<To>(static_cast<float>(x));
  } else if constexpr (std::is_floating_point_v<To>) {
    return static_cast<To>(x);
  } else if constexpr (std::is_floating_point_v<From>) {
    return float_to_int<To>(x);
  } else {
    constexpr int64_t low = kLow<To>, high = kHigh<To>;
    const int64_t wide = x;
    return static_cast<To>(wide < low ? low : wide > high ? high : wide);
  }
}

template <class To, class From>
struct Cast {
  __device__ To operator()(From x) const { return convert<To>(x); }
};

void cast(LaunchCall &call) {
  const TensorView &x = call.in(0), &out = call.out(0);
  if (x.numel() != out.numel()) call.reject("input and output sizes differ");
  dispatch_any(call, x.dtype, [&](auto from) {
    dispatch_any(call, out.dtype, [&](auto to) {
      using From = decltype(from);
      using To = decltype(to);
      map<To, From>(call, Cast<To, From>{}, x, out);
    });
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(cast, cast, kStrided)

}  // namespace wm::cuda
