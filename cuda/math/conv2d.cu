// conv2d(x [B, H, W, C], weight [O, C, kh, kw], bias [O]; stride, padding, f32Out) -> [B, H', W', O], and
// conv2d_bwd_input(dy [B, H', W', O], weight; stride, padding, height, width) -> dx [B, H, W, C].
//
// One product: rows are pixels of the result, k runs over taps and then channels (kernels.md N7, implicit GEMM). The
// gradient is the same product of dy with the weight [C, taps, O]. Operands of pictures are looked up in place; the weight is
// reordered once a call (its bytes twice through memory, small beside the pictures).
#include "cuda/math/conv2d.h"

#include <algorithm>

#include "cuda/math/bf16_operand.h"

namespace wm::cuda {

ConvProblem conv_problem(const LaunchCall &call, int64_t batch, int64_t height, int64_t width, int64_t channels,
                         int64_t outputs, int64_t kernel_h, int64_t kernel_w, int64_t stride, int64_t padding) {
  const ConvProblem p =
      make_conv_problem(call, batch, height, width, channels, outputs, kernel_h, kernel_w, stride, padding);
  constexpr int64_t kMost = int64_t{1} << 30;
  for (const int64_t size : {height, width, channels, outputs, stride, kernel_h * kernel_w * channels,
                             kernel_h * kernel_w * outputs, height * width, p.out_h * p.out_w, p.out_h * stride,
                             p.out_w * stride, batch * p.out_h * p.out_w, batch * height * width}) {
    if (size >= kMost) call.reject("a size of 2^30 or more: fewer images a call");
  }
  return p;
}

namespace {

constexpr int kThreads = 256;

// The tier follows from dtype and channels alone.
void convolve(LaunchCall &call, ConvTerms &terms, int64_t source_size, DType source, DType weight, DType out) {
  if (call.tier() < 2 || weight != DType::bf16 || terms.gather.channels % 8 != 0)
    return conv_f32(call, terms, source, weight, out);
  terms.source = bf16_operand(call, terms.source, source, source_size);
  conv_mma(call, terms, out);
}

bool narrow_float(DType t) { return t == DType::f32 || t == DType::bf16; }

// weight [O, C, taps] -> to [n, taps, k] (=): n = o, k = c, or (turned) n = c, k = o. 256 threads a block, an element each.
template <class T>
__global__ void __launch_bounds__(kThreads)
order_weight_kernel(const T *weight, T *to, uint32_t outputs, uint32_t channels, uint32_t taps, bool turned) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= static_cast<int64_t>(outputs) * channels * taps) return;
  const uint32_t k = turned ? outputs : channels;
  const auto row = static_cast<uint32_t>(at / k), j = static_cast<uint32_t>(at - static_cast<int64_t>(row) * k);
  const uint32_t i = row / taps, tap = row % taps;
  const int64_t from = turned ? static_cast<int64_t>(j) * channels + i : static_cast<int64_t>(i) * channels + j;
  to[at] = weight[from * taps + tap];
}

const void *ordered_weight(LaunchCall &call, const TensorView &weight, bool turned) {
  const auto outputs = static_cast<uint32_t>(weight.dim(0)), channels = static_cast<uint32_t>(weight.dim(1));
  const auto taps = static_cast<uint32_t>(weight.dim(2) * weight.dim(3));
  const auto launch = [&](auto zero) {
    using T = decltype(zero);
    T *to = call.workspace<T>(std::max<int64_t>(1, weight.numel()));
    WM_LAUNCH((order_weight_kernel<T>), dim3(blocks_for(weight.numel(), kThreads)), dim3(kThreads), 0, call.stream(),
              weight.as<const T>(), to, outputs, channels, taps, turned);
    return static_cast<const void *>(to);
  };
  return weight.dtype == DType::bf16 ? launch(bf16{}) : launch(float{});
}

void conv2d(LaunchCall &call) {
  const TensorView &x = call.in(0), &weight = call.in(1), &out = call.out(0);
  if (x.ndim != 4 || weight.ndim != 4 || x.dim(3) != weight.dim(1) || x.dtype != weight.dtype)
    call.reject("x must be [B, H, W, C] and weight [O, C, kh, kw] of one dtype");
  const ConvProblem p = conv_problem(call, x.dim(0), x.dim(1), x.dim(2), x.dim(3), weight.dim(0), weight.dim(2),
                                     weight.dim(3), call.attr_int(0), call.attr_int(1));
  if (out.numel() != p.batch * p.out_pixels() * p.outputs) call.reject("the output does not fit");
  if (call.has(2) && (call.in(2).numel() != p.outputs || call.in(2).dtype != x.dtype))
    call.reject("bias must be [O] in x's dtype");
  if (!narrow_float(x.dtype) || !narrow_float(out.dtype) || (x.dtype == DType::f32 && out.dtype != DType::f32))
    call.reject("takes f32 or bf16 on this device");
  if (out.numel() == 0) return;
  ConvTerms terms;
  terms.gather = {static_cast<int>(p.height), static_cast<int>(p.width), static_cast<int>(p.channels),
                  static_cast<int>(p.out_h), static_cast<int>(p.out_w), static_cast<int>(p.kernel_w),
                  static_cast<int>(p.taps()), static_cast<int>(p.stride), 1, -static_cast<int>(p.padding), 1};
  terms.source = x.data;
  terms.weight = ordered_weight(call, weight, false);
  terms.bias = call.has(2) ? call.in(2).data : nullptr;
  terms.out = out.data;
  terms.pixels = p.batch * p.out_pixels();
  terms.n = p.outputs;
  convolve(call, terms, x.numel(), x.dtype, weight.dtype, out.dtype);
}

void conv2d_bwd_input(LaunchCall &call) {
  const TensorView &dy = call.in(0), &weight = call.in(1), &out = call.out(0);
  if (dy.ndim != 4 || weight.ndim != 4 || dy.dim(3) != weight.dim(0))
    call.reject("dy must be [B, H', W', O] and weight [O, C, kh, kw]");
  const ConvProblem p = conv_problem(call, dy.dim(0), call.attr_int(2), call.attr_int(3), weight.dim(1), weight.dim(0),
                                     weight.dim(2), weight.dim(3), call.attr_int(0), call.attr_int(1));
  if (dy.dim(1) != p.out_h || dy.dim(2) != p.out_w || out.dtype != weight.dtype ||
      out.numel() != p.batch * p.in_pixels() * p.channels)
    call.reject("dy or the output do not fit");
  if (!narrow_float(dy.dtype) || !narrow_float(weight.dtype) ||
      (weight.dtype == DType::f32 && dy.dtype != DType::f32))
    call.reject("takes f32 or bf16 on this device, dy in the weight's dtype or f32");
  if (out.numel() == 0) return;
  ConvTerms terms;
  terms.gather = {static_cast<int>(p.out_h), static_cast<int>(p.out_w), static_cast<int>(p.outputs),
                  static_cast<int>(p.height), static_cast<int>(p.width), static_cast<int>(p.kernel_w),
                  static_cast<int>(p.taps()), 1, -1, static_cast<int>(p.padding), static_cast<int>(p.stride)};
  terms.source = dy.data;
  terms.weight = ordered_weight(call, weight, true);
  terms.bias = nullptr;
  terms.out = out.data;
  terms.pixels = p.batch * p.in_pixels();
  terms.n = p.channels;
  convolve(call, terms, dy.numel(), dy.dtype, weight.dtype, out.dtype);
}

}  // namespace

WM_REGISTER_CUDA_OP(conv2d, conv2d, kContiguous)
WM_REGISTER_CUDA_OP(conv2d_bwd_input, conv2d_bwd_input, kContiguous)

}  // namespace wm::cuda
