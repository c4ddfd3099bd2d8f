// Binary cross-entropy of logits, element by element, without overflow and with a smooth gradient at 0:
//   loss = positive t softplus(-z) + (1 - t) softplus(z),  dz = ((1 - t) s(z) - positive t s(-z)) dy
// Targets t in 0..1 of the logits' dtype; output f32 (f64 for f64). Attribute: positive, the weight of the target's part.
#include <cmath>

#include "native/cpu/shape/strided.h"

namespace wm {

namespace {

// log(1 + e^z)
template <class C>
C softplus(C z) {
  return (z > C(0) ? z : C(0)) + std::log1p(std::exp(-std::abs(z)));
}

template <class C>
C sigmoid(C z) {
  const C e = std::exp(-std::abs(z));
  return (z >= C(0) ? C(1) : e) / (C(1) + e);
}

template <class Body>
void for_elements(const OpCall &call, int64_t n, const Body &body) {
  call.parallel(n, kElementGrain / 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}

void bce_logits(OpCall &call) {
  const TensorView &z = call.in(0), &t = call.in(1), &out = call.out(0);
  if (t.dtype != z.dtype || t.numel() != z.numel() || out.numel() != z.numel()) call.reject("shapes and dtypes must be equal");
  dispatch_float(call, z.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = ComputeType<T>;
    const C positive = static_cast<C>(call.attr(0));
    for_elements(call, z.numel(), [&](int64_t i) {
      const C logit = to_float(z.as<T>()[i]), target = to_float(t.as<T>()[i]);
      out.as<C>()[i] = positive * target * softplus(-logit) + (C(1) - target) * softplus(logit);
    });
  });
}

// inputs logits, targets, dy; output: gradient of the logits
void bce_logits_bwd(OpCall &call) {
  const TensorView &z = call.in(0), &t = call.in(1), &dy = call.in(2), &out = call.out(0);
  if (t.dtype != z.dtype || t.numel() != z.numel() || dy.numel() != z.numel() || out.dtype != z.dtype ||
      dy.dtype != (z.dtype == DType::f64 ? DType::f64 : DType::f32)) {
    call.reject("shapes must be equal, dy f32 (f64 for f64)");
  }
  dispatch_float(call, z.dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = ComputeType<T>;
    const C positive = static_cast<C>(call.attr(0));
    for_elements(call, z.numel(), [&](int64_t i) {
      const C logit = to_float(z.as<T>()[i]), target = to_float(t.as<T>()[i]);
      const C slope = (C(1) - target) * sigmoid(logit) - positive * target * sigmoid(-logit);
      out.as<T>()[i] = from_float<T>(slope * dy.as<C>()[i]);
    });
  });
}

}  // namespace

WM_REGISTER_CPU_OP(bce_logits, bce_logits, kContiguous)
WM_REGISTER_CPU_OP(bce_logits_bwd, bce_logits_bwd, kContiguous)

}  // namespace wm
