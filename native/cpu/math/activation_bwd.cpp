// activation_bwd(z, dy; activation) = dy act'(z), in z's dtype; dy may be wider. The activations are those of
// linear: 0 none, 1 quick-gelu, 2 gelu (erf), 3 relu, 4 gelu (tanh). Arithmetic in f64, because the gradient
// of a fused activation is taken in training alone, where the products around it take most of the time.
#include <algorithm>
#include <cmath>

#include "native/cpu/math/gemm_kernels.h"
#include "native/core/op.h"

namespace wm {

static double slope(Activation activation, double z) {
  switch (activation) {
    case Activation::quick_gelu: {
      const double s = 1.0 / (1.0 + std::exp(-1.702 * z));
      return s * (1.0 + 1.702 * z * (1.0 - s));
    }
    case Activation::gelu: {
      const double density = 0.39894228040143267794 * std::exp(-0.5 * z * z);
      return 0.5 * std::erfc(-z * 0.70710678118654752440) + z * density;
    }
    case Activation::relu: return z > 0.0 ? 1.0 : 0.0;
    case Activation::gelu_tanh: {
      const double inner = 1.5957691216057307117 * (z + 0.044715 * z * z * z);
      const double s = 1.0 / (1.0 + std::exp(-inner));
      return s * (1.0 + z * (1.0 - s) * 1.5957691216057307117 * (1.0 + 0.134145 * z * z));
    }
    default: return 1.0;
  }
}

static void activation_bwd(OpCall &call) {
  const TensorView &z = call.in(0), &dy = call.in(1), &out = call.out(0);
  const int64_t code = call.attr_int(0);
  if (code < 0 || code > 4) call.reject("activation must be 0 to 4, got %g", call.attr(0));
  if (z.numel() != dy.numel() || out.numel() != z.numel() || out.dtype != z.dtype) {
    call.reject("z, dy and the output must have one shape, the output z's dtype");
  }
  const Activation activation = static_cast<Activation>(code);
  dispatch_float(call, z.dtype, [&](auto z_type) {
    using Z = decltype(z_type);
    dispatch_float(call, dy.dtype, [&](auto dy_type) {
      using D = decltype(dy_type);
      call.parallel(z.numel(), 4096, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const double value = static_cast<double>(to_float(dy.as<D>()[i])) *
                               slope(activation, static_cast<double>(to_float(z.as<Z>()[i])));
          if constexpr (sizeof(Z) == 8) {
            out.as<Z>()[i] = value;
          } else {
            out.as<Z>()[i] = from_float<Z>(static_cast<float>(value));
          }
        }
      });
    });
  });
}
WM_REGISTER_CPU_OP(activation_bwd, activation_bwd, kContiguous)

}  // namespace wm
