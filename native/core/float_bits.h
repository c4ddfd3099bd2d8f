// Bits of the exponent, and of the fraction, of each float format.
#pragma once

#include <cstdint>

#include "native/core/half.h"

namespace wm {

template <class T>
struct FloatBits;
template <>
struct FloatBits<float> {
  using Word = uint32_t;
  static constexpr Word exponent = 0x7f800000u, fraction = 0x007fffffu;
};
template <>
struct FloatBits<double> {
  using Word = uint64_t;
  static constexpr Word exponent = 0x7ff0000000000000u, fraction = 0x000fffffffffffffu;
};
template <>
struct FloatBits<bf16> {
  using Word = uint16_t;
  static constexpr Word exponent = 0x7f80u, fraction = 0x007fu;
};
template <>
struct FloatBits<f16> {
  using Word = uint16_t;
  static constexpr Word exponent = 0x7c00u, fraction = 0x03ffu;
};

}  // namespace wm
