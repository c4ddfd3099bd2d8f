// The derivative of each fused activation among the row primitives.
#pragma once

#include "native/cpu/math/gemm_kernels.h"
#include "native/cpu/simd/vector_ops.h"

namespace wm {

// Not for Activation::none, whose slope is 1.
inline UnaryOp slope_of(Activation activation) {
  switch (activation) {
    case Activation::quick_gelu: return UnaryOp::d_quick_gelu;
    case Activation::gelu: return UnaryOp::d_gelu;
    case Activation::gelu_tanh: return UnaryOp::d_gelu_tanh;
    default: return UnaryOp::d_relu;
  }
}

}  // namespace wm
