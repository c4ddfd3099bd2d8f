// What follows a product's sum z, the same for every tier: out = act(gate (scale z + bias)) + residual, and the slope of the
// activation for backward. The activation is a template parameter; operands that are absent cost a uniform branch.
#pragma once

#include "cuda/core/mma.cuh"
#include "cuda/math/gemm.h"

namespace wm::cuda {

// 1 / (1 + e^-x); where e^-x overflows, the quotient is 0.
__device__ __forceinline__ float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }

template <Activation kActivation>
__device__ __forceinline__ float activate(float z) {
  if constexpr (kActivation == Activation::quick_gelu) return z * sigmoid(1.702f * z);
  if constexpr (kActivation == Activation::gelu) return 0.5f * z * (1.0f + erff(z * 0.70710678118654752f));
  if constexpr (kActivation == Activation::relu) return z > 0.0f ? z : (z == z ? 0.0f : z);
  // 0.5 (1 + tanh u) = sigmoid(2 u), u = sqrt(2 / pi) (z + 0.044715 z^3).
  if constexpr (kActivation == Activation::gelu_tanh) {
    return z * sigmoid(1.5957691216057308f * z * (1.0f + 0.044715f * z * z));
  }
  return z;
}

// Its derivative at z.
template <Activation kActivation>
__device__ __forceinline__ float activation_slope(float z) {
  if constexpr (kActivation == Activation::quick_gelu) {
    const float s = sigmoid(1.702f * z);
    return s + 1.702f * z * s * (1.0f - s);
  }
  if constexpr (kActivation == Activation::gelu) {
    return 0.5f * (1.0f + erff(z * 0.70710678118654752f)) + z * 0.39894228040143268f * __expf(-0.5f * z * z);
  }
  if constexpr (kActivation == Activation::relu) return z > 0.0f ? 1.0f : 0.0f;
  if constexpr (kActivation == Activation::gelu_tanh) {
    const float s = sigmoid(1.5957691216057308f * z * (1.0f + 0.044715f * z * z));
    return s + z * s * (1.0f - s) * 1.5957691216057308f * (1.0f + 3.0f * 0.044715f * z * z);
  }
  return 1.0f;
}

// One launch per activation: body gets it as std::integral_constant.
template <class F>
void dispatch_activation(Activation activation, F &&body) {
  switch (activation) {
    case Activation::none: return body(std::integral_constant<Activation, Activation::none>{});
    case Activation::quick_gelu: return body(std::integral_constant<Activation, Activation::quick_gelu>{});
    case Activation::gelu: return body(std::integral_constant<Activation, Activation::gelu>{});
    case Activation::relu: return body(std::integral_constant<Activation, Activation::relu>{});
    case Activation::gelu_tanh: return body(std::integral_constant<Activation, Activation::gelu_tanh>{});
  }
}

__device__ __forceinline__ float load_either(const void *data, bool is_bf16, int64_t i) {
  return is_bf16 ? to_float(static_cast<const bf16 *>(data)[i]) : static_cast<const float *>(data)[i];
}

// `count` (at most kWidth) neighbours at data[i]; `whole`: all of them, aligned for one or two vector accesses.
template <int kWidth>
__device__ __forceinline__ void load_run(const void *data, bool is_bf16, int64_t i, int count, bool whole,
                                         float (&x)[kWidth]) {
  if (!whole) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) x[j] = j < count ? load_either(data, is_bf16, i + j) : 0.0f;
  } else if (is_bf16) {
    const auto v = load_vector<bf16, kWidth>(static_cast<const bf16 *>(data) + i);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) x[j] = to_float(v.value[j]);
  } else {
#pragma unroll
    for (int q = 0; q < kWidth; q += 4) {
      const auto v = load_vector<float, 4>(static_cast<const float *>(data) + i + q);
#pragma unroll
      for (int j = 0; j < 4; ++j) x[q + j] = v.value[j];
    }
  }
}

template <int kWidth>
__device__ __forceinline__ void store_run(void *data, bool is_bf16, int64_t i, int count, bool whole,
                                          const float (&x)[kWidth]) {
  if (!whole) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      if (j >= count) break;
      if (is_bf16) static_cast<bf16 *>(data)[i + j] = from_float<bf16>(x[j]);
      else static_cast<float *>(data)[i + j] = x[j];
    }
  } else if (is_bf16) {
    Vector<uint32_t, kWidth / 2> v;
#pragma unroll
    for (int j = 0; j < kWidth / 2; ++j) v.value[j] = pack_bf16(x[2 * j], x[2 * j + 1]);
    store_vector(reinterpret_cast<uint32_t *>(static_cast<bf16 *>(data) + i), v);
  } else {
#pragma unroll
    for (int q = 0; q < kWidth; q += 4) {
      Vector<float, 4> v;
#pragma unroll
      for (int j = 0; j < 4; ++j) v.value[j] = x[q + j];
      store_vector(static_cast<float *>(data) + i + q, v);
    }
  }
}

// Finishes `count` neighbouring sums of columns `column` .. of the row that starts at element `row_start` of the output.
template <Activation kActivation, int kWidth>
__device__ __forceinline__ void finish_run(const GemmEpilogue &e, int64_t row_start, int64_t column, int count, bool aligned,
                                           float (&x)[kWidth]) {
  const bool whole = aligned && count >= kWidth;
  const int64_t i = row_start + column;
  float other[kWidth];
#pragma unroll
  for (int j = 0; j < kWidth; ++j) x[j] *= e.scale;
  if (e.bias != nullptr) {
    load_run(e.bias, e.bias_bf16, column, count, whole, other);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) x[j] += other[j];
  }
  if (e.gate != nullptr) {
    load_run(e.gate, e.gate_bf16, i, count, whole, other);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) x[j] *= other[j];
  }
  if (e.slope != nullptr) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) other[j] = activation_slope<kActivation>(x[j]);
    store_run(e.slope, e.out_bf16, i, count, whole, other);
  }
#pragma unroll
  for (int j = 0; j < kWidth; ++j) x[j] = activate<kActivation>(x[j]);
  if (e.residual != nullptr) {
    load_run(e.residual, e.residual_bf16, i, count, whole, other);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) x[j] += other[j];
  }
  store_run(e.out, e.out_bf16, i, count, whole, x);
}

// Whether runs of 8 columns may move as vectors: rows and all pointers on 16-byte lines.
inline bool epilogue_aligned(const GemmEpilogue &e, int64_t n) {
  uintptr_t bits = 0;
  for (const void *data : {e.bias, e.residual, e.gate, static_cast<const void *>(e.out), static_cast<const void *>(e.slope)}) {
    bits |= reinterpret_cast<uintptr_t>(data);
  }
  return n % 8 == 0 && bits % 16 == 0;
}

// Where the matrix of batch `index` starts in an operand.
__device__ __forceinline__ int64_t batch_start(const GemmParams &p, const GemmOperand &operand, int64_t index) {
  int64_t start = 0;
  for (int i = p.leads - 1; i >= 0; --i) {
    start += index % p.lead_size[i] * operand.lead_stride[i];
    index /= p.lead_size[i];
  }
  return start;
}

}  // namespace wm::cuda
