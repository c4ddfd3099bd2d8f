// The resize family's calls, read, checked and handed to the kernel of their origin: one definition for the CPU's kernels and
// the device's launchers, found through the namespace of `Call` (resize_planes, resize_nearest, resize_pil_u8, ...).
#pragma once

#include "native/core/op_arguments.h"
#include "native/core/resize_spec.h"

namespace wm {

constexpr int64_t kMaxResizeSide = int64_t{1} << 30;

// attrs from 2: mode, alignCorners, scaleX, scaleY. Height and width of in and out stand at `axis` of their shapes.
inline ResizeSpec read_resize_spec(const OpArguments &call, const TensorView &in, const TensorView &out, int axis) {
  const int64_t mode = call.attr_int(2);
  if (mode < 0 || mode >= kResizeModeCount)
    call.reject("mode must be 0..%d, got %lld", kResizeModeCount - 1, static_cast<long long>(mode));
  const ResizeSpec spec{static_cast<ResizeMode>(mode), call.attr_flag(3),
                        {in.dim(axis + 1), out.dim(axis + 1), call.attr(4)},
                        {in.dim(axis), out.dim(axis), call.attr(5)}};
  for (const ResizeAxis &side : {spec.x, spec.y}) {
    if (!std::isfinite(side.scale) || side.scale < 0) call.reject("scale must be finite and >= 0, got %g", side.scale);
    if (side.out < 1 || side.out > kMaxResizeSide || side.in < 1 || side.in > kMaxResizeSide) {
      call.reject("sides must be 1..%lld, got %lld -> %lld", static_cast<long long>(kMaxResizeSide),
                  static_cast<long long>(side.in), static_cast<long long>(side.out));
    }
  }
  return spec;
}

// Output shape = input shape with height and width, at `axis`, replaced.
inline void check_resized(const OpArguments &call, const TensorView &in, const TensorView &out, int axis) {
  bool ok = in.ndim == out.ndim && in.dtype == out.dtype;
  for (int i = 0; ok && i < in.ndim; ++i) ok = i == axis || i == axis + 1 || in.dim(i) == out.dim(i);
  if (!ok) call.reject("output does not fit the input");
}

// u8 [H, W, C]
template <class Call>
void resize_image_call(Call &call) {
  const TensorView &in = call.in(0), &out = call.out(0);
  if (in.ndim != 3) call.reject("a u8 image must be [H, W, C], got rank %d", in.ndim);
  check_resized(call, in, out, 0);
  if (out.numel() == 0) return;
  const ResizeSpec spec = read_resize_spec(call, in, out, 0);
  switch (spec.mode) {
    case ResizeMode::pil_bilinear:
    case ResizeMode::pil_bicubic: return resize_pil_u8(call, spec);
    case ResizeMode::opencv_linear:
    case ResizeMode::opencv_area: return resize_opencv_u8(call, spec);
    case ResizeMode::pil_nearest:
    case ResizeMode::opencv_nearest: return resize_nearest(call, spec, true);
    default: call.reject("the torch modes take floating maps [..., H, W], got u8");
  }
}

// attrs: width, height, mode, alignCorners, scaleX, scaleY
template <class Call>
void resize_call(Call &call) {
  const TensorView &in = call.in(0), &out = call.out(0);
  if (in.dtype == DType::u8) return resize_image_call(call);
  if (in.ndim < 2) call.reject("a map must be [..., H, W], got rank %d", in.ndim);
  check_resized(call, in, out, in.ndim - 2);
  if (out.numel() == 0) return;
  const ResizeSpec spec = read_resize_spec(call, in, out, in.ndim - 2);
  if (is_nearest(spec.mode)) return resize_nearest(call, spec, false);
  switch (spec.mode) {
    case ResizeMode::torch_bilinear:
    case ResizeMode::torch_bicubic:
    case ResizeMode::opencv_linear: return resize_planes(call, spec);
    default: call.reject("the pil modes and opencv_area take u8 [H, W, C], got %s", dtype_name(in.dtype));
  }
}

// attrs: inHeight, inWidth, then mode, alignCorners, scaleX, scaleY as in the forward call
template <class Call>
void resize_bwd_call(Call &call) {
  const TensorView &dy = call.in(0), &dx = call.out(0);
  if (dy.ndim < 2) call.reject("the gradient must be [..., H, W], got rank %d", dy.ndim);
  check_resized(call, dx, dy, dy.ndim - 2);
  if (dx.numel() == 0) return;
  const ResizeSpec spec = read_resize_spec(call, dx, dy, dy.ndim - 2);
  if (static_cast<int>(spec.mode) > static_cast<int>(ResizeMode::torch_nearest_exact))
    call.reject("mode %d has no gradient", static_cast<int>(spec.mode));
  resize_planes_bwd(call, spec);
}

}  // namespace wm
