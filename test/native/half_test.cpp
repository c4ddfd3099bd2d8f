// bf16 and f16: every bit pattern is decoded as the formats define it, and encoding rounds to nearest, ties to even.
// Encoding is checked where its result can change: at the midpoint of every two neighbouring values and on both sides.
#include <cmath>
#include <limits>

#include "native/core/half.h"
#include "test/native/check.h"

using namespace wm;

namespace {

// Value of a binary format with `exponent_bits` and `mantissa_bits`, from its definition.
double decode(uint32_t bits, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>(bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const double mantissa = static_cast<double>(bits & ((1u << mantissa_bits) - 1));
  const double sign = (bits >> (exponent_bits + mantissa_bits)) & 1u ? -1.0 : 1.0;
  const double step = std::ldexp(1.0, -mantissa_bits);
  if (exponent == (1 << exponent_bits) - 1) {
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  }
  if (exponent == 0) return sign * std::ldexp(mantissa * step, 1 - bias);
  return sign * std::ldexp(1.0 + mantissa * step, exponent - bias);
}

bool same_value(double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return a == b && std::signbit(a) == std::signbit(b);
}

template <class Half>
bool decodes(uint16_t bits, int exponent_bits, int mantissa_bits) {
  return same_value(static_cast<double>(to_float(Half{bits})), decode(bits, exponent_bits, mantissa_bits));
}

// `low` and `low + 1` are neighbouring finite patterns of one sign.
template <class Half>
bool rounds_between(uint16_t low, Half (*encode)(float)) {
  const uint16_t high = static_cast<uint16_t>(low + 1);
  const float below = to_float(Half{low}), above = to_float(Half{high});
  const float middle = static_cast<float>((static_cast<double>(below) + static_cast<double>(above)) / 2);
  const uint16_t even = low & 1u ? high : low;
  return encode(below).bits == low && encode(above).bits == high && encode(middle).bits == even &&
         encode(std::nextafter(middle, below)).bits == low && encode(std::nextafter(middle, above)).bits == high;
}

}  // namespace

WM_TEST(f16_decodes_every_pattern) {
  for (uint32_t bits = 0; bits <= 0xffffu; ++bits) WM_CHECK(decodes<f16>(static_cast<uint16_t>(bits), 5, 10));
}

WM_TEST(bf16_decodes_every_pattern) {
  for (uint32_t bits = 0; bits <= 0xffffu; ++bits) WM_CHECK(decodes<bf16>(static_cast<uint16_t>(bits), 8, 7));
}

WM_TEST(f16_rounds_to_nearest_even) {
  for (uint32_t low = 0; low < 0x7bffu; ++low) {
    WM_CHECK(rounds_between<f16>(static_cast<uint16_t>(low), to_f16));
    WM_CHECK(rounds_between<f16>(static_cast<uint16_t>(low | 0x8000u), to_f16));
  }
}

WM_TEST(bf16_rounds_to_nearest_even) {
  for (uint32_t low = 0; low < 0x7f7fu; ++low) {
    WM_CHECK(rounds_between<bf16>(static_cast<uint16_t>(low), to_bf16));
    WM_CHECK(rounds_between<bf16>(static_cast<uint16_t>(low | 0x8000u), to_bf16));
  }
}

WM_TEST(f16_ends) {
  const float infinity = std::numeric_limits<float>::infinity();
  WM_CHECK(to_f16(65504.0f).bits == 0x7bff);
  WM_CHECK(to_f16(std::nextafter(65520.0f, 0.0f)).bits == 0x7bff);
  WM_CHECK(to_f16(65520.0f).bits == 0x7c00);
  WM_CHECK(to_f16(-1e30f).bits == 0xfc00);
  WM_CHECK(to_f16(infinity).bits == 0x7c00);
  WM_CHECK(to_f16(std::numeric_limits<float>::denorm_min()).bits == 0);
  WM_CHECK(to_f16(-0.0f).bits == 0x8000);
  WM_CHECK(std::isnan(to_float(to_f16(std::numeric_limits<float>::quiet_NaN()))));
  WM_CHECK(std::isnan(to_float(to_f16(float_from_bits(0x7f800001u)))));
}

WM_TEST(bf16_ends) {
  const float largest = std::numeric_limits<float>::max();
  WM_CHECK(to_bf16(largest).bits == 0x7f80);
  WM_CHECK(to_bf16(-largest).bits == 0xff80);
  WM_CHECK(to_bf16(-0.0f).bits == 0x8000);
  // A NaN whose payload lies in the cut bits alone must not become infinity.
  WM_CHECK(std::isnan(to_float(to_bf16(float_from_bits(0x7f800001u)))));
  WM_CHECK(std::isnan(to_float(to_bf16(float_from_bits(0xffffffffu)))));
}
