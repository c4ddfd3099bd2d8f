// resize: images and maps in ten modes, each with the numbers of the library it is named after (kernels.md P1). u8 images
// are [H, W, C], floating maps [..., H, W]. resize_bwd is the transpose of the torch modes. Checks and the choice of the
// origin; the kernels are in resize_*.cu.
#include "cuda/image/resize.cuh"

#include <cmath>

namespace wm::cuda {

namespace {

constexpr int64_t kMaxSide = int64_t{1} << 30;

// attrs from `first`: mode, alignCorners, scaleX, scaleY. Height and width of in and out stand at `axis` of their shapes.
ResizeSpec make_spec(const LaunchCall &call, const TensorView &in, const TensorView &out, int axis, int first) {
  const int64_t mode = call.attr_int(first);
  if (mode < 0 || mode >= kResizeModeCount)
    call.reject("mode must be 0..%d, got %lld", kResizeModeCount - 1, static_cast<long long>(mode));
  const ResizeSpec spec{static_cast<ResizeMode>(mode), call.attr_flag(first + 1),
                        {in.dim(axis + 1), out.dim(axis + 1), call.attr(first + 2)},
                        {in.dim(axis), out.dim(axis), call.attr(first + 3)}};
  for (const ResizeAxis &side : {spec.x, spec.y}) {
    if (!std::isfinite(side.scale) || side.scale < 0) call.reject("scale must be finite and >= 0, got %g", side.scale);
    if (side.out < 1 || side.out > kMaxSide || side.in < 1 || side.in > kMaxSide) {
      call.reject("sides must be 1..%lld, got %lld -> %lld", static_cast<long long>(kMaxSide),
                  static_cast<long long>(side.in), static_cast<long long>(side.out));
    }
  }
  return spec;
}

// Output shape = input shape with height and width replaced.
void check_output(const LaunchCall &call, const TensorView &in, const TensorView &out, int axis) {
  bool ok = in.ndim == out.ndim && in.dtype == out.dtype;
  for (int i = 0; ok && i < in.ndim; ++i) ok = i == axis || i == axis + 1 || in.dim(i) == out.dim(i);
  if (!ok) call.reject("output does not fit the input");
}

void resize_image(LaunchCall &call, const TensorView &in, const TensorView &out) {
  if (in.ndim != 3) call.reject("a u8 image must be [H, W, C], got rank %d", in.ndim);
  check_output(call, in, out, 0);
  if (out.numel() == 0) return;
  const ResizeSpec spec = make_spec(call, in, out, 0, 2);
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
void resize(LaunchCall &call) {
  const TensorView &in = call.in(0), &out = call.out(0);
  if (in.dtype == DType::u8) return resize_image(call, in, out);
  if (in.ndim < 2) call.reject("a map must be [..., H, W], got rank %d", in.ndim);
  check_output(call, in, out, in.ndim - 2);
  if (out.numel() == 0) return;
  const ResizeSpec spec = make_spec(call, in, out, in.ndim - 2, 2);
  if (is_nearest(spec.mode)) return resize_nearest(call, spec, false);
  switch (spec.mode) {
    case ResizeMode::torch_bilinear:
    case ResizeMode::torch_bicubic:
    case ResizeMode::opencv_linear: return resize_planes(call, spec);
    default: call.reject("the pil modes and opencv_area take u8 [H, W, C], got %s", dtype_name(in.dtype));
  }
}

// attrs: inHeight, inWidth, then mode, alignCorners, scaleX, scaleY as in the forward call
void resize_bwd(LaunchCall &call) {
  const TensorView &dy = call.in(0), &dx = call.out(0);
  if (dy.ndim < 2) call.reject("the gradient must be [..., H, W], got rank %d", dy.ndim);
  check_output(call, dx, dy, dy.ndim - 2);
  if (dx.numel() == 0) return;
  const ResizeSpec spec = make_spec(call, dx, dy, dy.ndim - 2, 2);
  if (static_cast<int>(spec.mode) > static_cast<int>(ResizeMode::torch_nearest_exact))
    call.reject("mode %d has no gradient", static_cast<int>(spec.mode));
  resize_planes_bwd(call, spec);
}

}  // namespace

WM_REGISTER_CUDA_OP(resize, resize, kContiguous)
WM_REGISTER_CUDA_OP(resize_bwd, resize_bwd, kContiguous)

}  // namespace wm::cuda
