// Two-byte float storage types and their conversions. bf16 and f16 are storage only: all arithmetic is f32.
// Rounding is to nearest, ties to even; NaN stays NaN (payload cut to one quiet bit).
#pragma once

#include <cstdint>
#include <cstring>

// Kernels of a device use the same conversions, by the instructions there are for them (f32 to f16 takes 1 in place of
// some 40); their NaN is the one of all ones.
#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define WM_HOST_DEVICE __host__ __device__
#else
#define WM_HOST_DEVICE
#endif

namespace wm {

struct bf16 {
  uint16_t bits;
};
struct f16 {
  uint16_t bits;
};

WM_HOST_DEVICE inline uint32_t float_bits(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  return u;
}

WM_HOST_DEVICE inline float float_from_bits(uint32_t u) {
  float x;
  std::memcpy(&x, &u, 4);
  return x;
}

WM_HOST_DEVICE inline float to_float(bf16 x) { return float_from_bits(static_cast<uint32_t>(x.bits) << 16); }

WM_HOST_DEVICE inline bf16 to_bf16(float x) {
#if defined(__CUDA_ARCH__)
  return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};
#else
  const uint32_t u = float_bits(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((u >> 16) | 0x40u)};
  return {static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
#endif
}

WM_HOST_DEVICE inline float to_float(f16 x) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(x.bits));
#else
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
  const uint32_t exponent = (x.bits >> 10) & 0x1fu;
  const uint32_t mantissa = x.bits & 0x3ffu;
  if (exponent == 31) return float_from_bits(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return float_from_bits(sign | ((exponent + 112) << 23) | (mantissa << 13));
  // Subnormal: value = mantissa * 2^-24, exact in f32.
  const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;
  return sign ? -magnitude : magnitude;
#endif
}

WM_HOST_DEVICE inline f16 to_f16(float x) {
#if defined(__CUDA_ARCH__)
  return {__half_as_ushort(__float2half_rn(x))};
#else
  const uint32_t u = float_bits(x);
  const uint16_t sign = static_cast<uint16_t>((u >> 16) & 0x8000u);
  const uint32_t magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u)};
  if (magnitude >= 0x477ff000u) return {static_cast<uint16_t>(sign | 0x7c00u)};  // >= 65520 rounds to infinity
  if (magnitude < 0x38800000u) {
    // Below 2^-14: adding 0.5 aligns the result's last bit with the f16 subnormal step; the FPU rounds to even.
    const float shifted = float_from_bits(magnitude) + 0.5f;
    return {static_cast<uint16_t>(sign | (float_bits(shifted) - 0x3f000000u))};
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return {static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13))};
#endif
}

WM_HOST_DEVICE inline float to_float(float x) { return x; }
WM_HOST_DEVICE inline double to_float(double x) { return x; }

template <class T>
WM_HOST_DEVICE inline T from_float(float x);
template <>
WM_HOST_DEVICE inline float from_float<float>(float x) { return x; }
template <>
WM_HOST_DEVICE inline double from_float<double>(float x) { return static_cast<double>(x); }
template <>
WM_HOST_DEVICE inline bf16 from_float<bf16>(float x) { return to_bf16(x); }
template <>
WM_HOST_DEVICE inline f16 from_float<f16>(float x) { return to_f16(x); }

// For kernels whose arithmetic type is that of to_float: double stays double.
template <class T>
WM_HOST_DEVICE inline T from_float(double x) { return from_float<T>(static_cast<float>(x)); }
template <>
WM_HOST_DEVICE inline double from_float<double>(double x) { return x; }

}  // namespace wm
