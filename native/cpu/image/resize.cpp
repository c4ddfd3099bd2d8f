// resize: images and maps in ten modes, each with the numbers of the library it is named after (kernels.md
// P1). u8 images are [H, W, C], floating maps [..., H, W]. resize_bwd is the transpose of the torch modes.
#include "native/cpu/image/resize.h"

#include <cmath>

namespace wm {

namespace {

constexpr int64_t kMaxSide = int64_t{1} << 30;

ResizeSpec make_spec(const OpCall &call, ResizeAxis x, ResizeAxis y, int first_attr) {
  const int64_t mode = call.attr_int(first_attr);
  if (mode < 0 || mode >= kResizeModeCount) {
    call.reject("mode must be 0..%d, got %lld", kResizeModeCount - 1, static_cast<long long>(mode));
  }
  x.scale = call.attr(first_attr + 2);
  y.scale = call.attr(first_attr + 3);
  for (const ResizeAxis &axis : {x, y}) {
    if (!std::isfinite(axis.scale) || axis.scale < 0)
      call.reject("scale must be finite and >= 0, got %g", axis.scale);
    if (axis.out < 1 || axis.out > kMaxSide || axis.in < 1 || axis.in > kMaxSide) {
      call.reject("sides must be 1..%lld, got %lld -> %lld", static_cast<long long>(kMaxSide),
                  static_cast<long long>(axis.in), static_cast<long long>(axis.out));
    }
  }
  return {static_cast<ResizeMode>(mode), call.attr_flag(first_attr + 1), x, y};
}

// Output shape = input shape with two entries replaced.
void check_output(const OpCall &call, const TensorView &x, const TensorView &y, int h_axis) {
  bool ok = x.ndim == y.ndim && x.dtype == y.dtype;
  for (int i = 0; ok && i < x.ndim; ++i) ok = i == h_axis || i == h_axis + 1 || x.dim(i) == y.dim(i);
  if (!ok) call.reject("output does not fit the input");
}

void resize_u8(OpCall &call, const TensorView &x, const TensorView &y) {
  if (x.ndim != 3) call.reject("a u8 image must be [H, W, C], got rank %d", x.ndim);
  check_output(call, x, y, 0);
  if (y.numel() == 0) return;
  const ResizeSpec spec = make_spec(call, {x.dim(1), y.dim(1), 0}, {x.dim(0), y.dim(0), 0}, 2);
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

void resize(OpCall &call) {
  const TensorView &x = call.in(0);
  const TensorView &y = call.out(0);
  if (x.dtype == DType::u8) return resize_u8(call, x, y);
  if (x.ndim < 2) call.reject("a map must be [..., H, W], got rank %d", x.ndim);
  check_output(call, x, y, x.ndim - 2);
  if (y.numel() == 0) return;
  const ResizeSpec spec = make_spec(call, {x.dim(-1), y.dim(-1), 0}, {x.dim(-2), y.dim(-2), 0}, 2);
  if (is_nearest(spec.mode)) return resize_nearest(call, spec, false);
  switch (spec.mode) {
    case ResizeMode::torch_bilinear:
    case ResizeMode::torch_bicubic:
    case ResizeMode::opencv_linear: return resize_planes(call, spec);
    default: call.reject("the pil modes and opencv_area take u8 [H, W, C], got %s", dtype_name(x.dtype));
  }
}

// attrs: inHeight, inWidth, then mode, alignCorners, scaleX, scaleY as in the forward call.
void resize_bwd(OpCall &call) {
  const TensorView &dy = call.in(0);
  const TensorView &dx = call.out(0);
  if (dy.ndim < 2) call.reject("the gradient must be [..., H, W], got rank %d", dy.ndim);
  check_output(call, dx, dy, dy.ndim - 2);
  if (dx.numel() == 0) return;
  const ResizeSpec spec = make_spec(call, {dx.dim(-1), dy.dim(-1), 0}, {dx.dim(-2), dy.dim(-2), 0}, 2);
  const int mode = static_cast<int>(spec.mode);
  if (mode > static_cast<int>(ResizeMode::torch_nearest_exact)) call.reject("mode %d has no gradient", mode);
  resize_planes_bwd(call, spec);
}

}  // namespace

WM_REGISTER_CPU_OP(resize, resize, kContiguous)
WM_REGISTER_CPU_OP(resize_bwd, resize_bwd, kContiguous)

}  // namespace wm
