// Elementary functions, activations and their slopes on f32 in device code: function objects over (x), with the two
// numbers some of them need as members a and b. The formulas are those of native/cpu/simd/vector_ops_impl.h.
#pragma once

#include "cuda/core/op.h"

namespace wm::cuda {

// 1 / (1 + e^-x). __fdividef is within 2 units in the last place here and gives 0 where e^-x overflows.
__device__ inline float sigmoid_of(float x) { return __fdividef(1.0f, 1.0f + expf(-x)); }

// The standard normal distribution function; erfc keeps its digits in the lower tail, 1 + erf does not.
__device__ inline float normal_cdf_of(float x) { return 0.5f * erfcf(-0.70710678f * x); }

constexpr float kGeluTanhInner = 1.5957691216057308f;   // 2 sqrt(2 / pi)
constexpr float kGeluTanhCubic = 0.07135481627159905f;  // that times 0.044715
constexpr float kQuickGelu = 1.702f;

// d/dx [x sigmoid(u(x))] = s + x s (1 - s) u'
__device__ inline float gated_slope(float x, float s, float slope) { return fmaf(x * s * (1.0f - s), slope, s); }

// NaN where either side is NaN, unlike fmaxf and fminf.
__device__ inline float max_of(float p, float q) { return p > q || p != p ? p : q; }
__device__ inline float min_of(float p, float q) { return p < q || p != p ? p : q; }

struct Numbers {
  float a = 0.0f, b = 0.0f;
};

#define WM_FUNCTION(name, expression)                                                 \
  struct name : Numbers {                                                             \
    __device__ float operator()([[maybe_unused]] float x) const { return expression; } \
  };
WM_FUNCTION(Neg, -x)
WM_FUNCTION(Exp, expf(x))
WM_FUNCTION(Log, logf(x))
WM_FUNCTION(Sqrt, sqrtf(x))
WM_FUNCTION(Rsqrt, rsqrtf(x))
WM_FUNCTION(Abs, fabsf(x))
WM_FUNCTION(Square, x * x)
WM_FUNCTION(Sigmoid, sigmoid_of(x))
WM_FUNCTION(Tanh, tanhf(x))
WM_FUNCTION(Relu, x > 0.0f || x != x ? x : 0.0f)
WM_FUNCTION(Silu, x * sigmoid_of(x))
WM_FUNCTION(Gelu, x * normal_cdf_of(x))
WM_FUNCTION(GeluTanh, x * sigmoid_of(x * fmaf(x * x, kGeluTanhCubic, kGeluTanhInner)))
WM_FUNCTION(QuickGelu, x * sigmoid_of(kQuickGelu * x))
WM_FUNCTION(ScaleShift, x * a + b)
WM_FUNCTION(Clamp, min_of(max_of(x, a), b))
WM_FUNCTION(PowScalar, powf(x, a))
WM_FUNCTION(One, 1.0f)
WM_FUNCTION(DAbs, x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : 0.0f)
WM_FUNCTION(DSigmoid, x * (1.0f - x))     // of the result
WM_FUNCTION(DTanh, 1.0f - x * x)          // of the result
WM_FUNCTION(DRelu, x > 0.0f ? 1.0f : 0.0f)
WM_FUNCTION(DSilu, gated_slope(x, sigmoid_of(x), 1.0f))
WM_FUNCTION(DGelu, fmaf(x, 0.3989422804014327f * expf(-0.5f * x * x), normal_cdf_of(x)))
WM_FUNCTION(DQuickGelu, gated_slope(x, sigmoid_of(kQuickGelu * x), kQuickGelu))
WM_FUNCTION(DClamp, x >= a && x <= b ? 1.0f : 0.0f)
#undef WM_FUNCTION

struct DGeluTanh : Numbers {
  __device__ float operator()(float x) const {
    const float x2 = x * x, s = sigmoid_of(x * fmaf(x2, kGeluTanhCubic, kGeluTanhInner));
    return gated_slope(x, s, fmaf(3.0f * kGeluTanhCubic, x2, kGeluTanhInner));
  }
};

// y = f(x) and dx = f(saved) dy on stored types, computed in f32.
template <class F, class T>
struct Stored {
  F f;
  __device__ T operator()(T x) const { return from_float<T>(f(to_float(x))); }
};
template <class F, class X, class G>
struct StoredSlope {
  F f;
  __device__ X operator()(X saved, G dy) const { return from_float<X>(f(to_float(saved)) * to_float(dy)); }
};

}  // namespace wm::cuda
