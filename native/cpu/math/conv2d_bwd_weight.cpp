// conv2d_bwd_weight(x [B, H, W, C], dy [B, H', W', O]; stride, padding, kernelHeight, kernelWidth) -> dweight
// [O, C, kh, kw] = sum over output pixels of dy[o] x[c] under each tap.
//
// One product a group of images with pixels as k: rows are (tap, channel), read from the pictures in place, columns the
// channels of dy. Sums of earlier groups come in as the residual. The result [tap, C, O] is turned at the end.
#include <algorithm>

#include "native/cpu/math/conv2d.h"

namespace wm {

namespace {

constexpr int64_t kBlock = 16;  // output channels turned together: one cache line of sums

template <class T>
void turn(OpCall &call, const float *sums, int64_t outputs, int64_t channels, int64_t taps, T *to) {
  call.parallel((outputs + kBlock - 1) / kBlock, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t o0 = block * kBlock, o1 = std::min(outputs, o0 + kBlock);
      for (int64_t c = 0; c < channels; ++c) {
        for (int64_t t = 0; t < taps; ++t) {
          const float *from = sums + (t * channels + c) * outputs;
          for (int64_t o = o0; o < o1; ++o) to[(o * channels + c) * taps + t] = from_float<T>(from[o]);
        }
      }
    }
  });
}

void weight_sums(OpCall &call, const ConvProblem &p, bool pairs, float *sums) {
  const TensorView &x = call.in(0), &dy = call.in(1);
  const DType element = pairs ? DType::bf16 : DType::f32;
  const Border border{p.height + 2 * p.padding, p.width + 2 * p.padding, p.padding, p.padding, 1};
  const auto size = static_cast<int64_t>(dtype_size(element));
  const int64_t group = conv_group(p.batch, border, p.channels, size);
  void *copy = call.workspace_bytes(
      static_cast<size_t>(std::max<int64_t>(1, group * border.height * border.width * p.channels * size)));
  const std::vector<int64_t> pixels = conv_row_starts(border, group, p.out_h, p.stride, p.channels);
  const std::vector<int64_t> taps = conv_tap_starts(border, p.kernel_h, p.kernel_w, p.channels);
  const auto dy_size = static_cast<int64_t>(dtype_size(dy.dtype));
  for (int64_t first = 0; first < p.batch; first += group) {
    const int64_t count = std::min(group, p.batch - first);
    conv_border(call, x, first, count, border, element, copy);
    GemmArgs args;
    args.m = p.taps() * p.channels;
    args.n = p.outputs;
    args.k = count * p.out_pixels();
    args.pairs = pairs;
    args.a.data = copy;
    args.a.dtype = element;
    args.a.row_stride = 1;
    args.a.row_run = p.channels;
    args.a.row_starts = taps.data();
    args.a.k_stride = p.stride * p.channels;
    args.a.k_run = p.out_w;
    args.a.k_starts = pixels.data();
    args.b.data = dy.as<char>() + first * p.out_pixels() * p.outputs * dy_size;
    args.b.dtype = dy.dtype;
    args.b.row_stride = 1;
    args.b.k_stride = p.outputs;
    args.residual = first == 0 ? nullptr : sums;
    args.out = sums;
    gemm(call, args);
  }
}

void conv2d_bwd_weight(OpCall &call) {
  const TensorView &x = call.in(0), &dy = call.in(1), &out = call.out(0);
  if (x.ndim != 4 || dy.ndim != 4 || x.dim(0) != dy.dim(0))
    call.reject("x must be [B, H, W, C] and dy [B, H', W', O]");
  const ConvProblem p =
      make_conv_problem(call, x.dim(0), x.dim(1), x.dim(2), x.dim(3), dy.dim(3), call.attr_int(2),
                   call.attr_int(3), call.attr_int(0), call.attr_int(1));
  if (dy.dim(1) != p.out_h || dy.dim(2) != p.out_w || out.dtype != x.dtype ||
      out.numel() != p.outputs * p.channels * p.taps())
    call.reject("dy or the output do not fit");
  if (x.dtype == DType::f64 && dy.dtype == DType::f64) return conv2d_bwd_weight_f64(call, p);
  const auto narrow = [](DType t) { return t == DType::f32 || t == DType::bf16; };
  if (!narrow(x.dtype) || !narrow(dy.dtype)) call.reject("takes f32, bf16 or f64");
  if (out.numel() == 0) return;
  float *sums = call.workspace<float>(out.numel());
  if (p.batch == 0) std::fill(sums, sums + out.numel(), 0.0f);
  weight_sums(call, p, x.dtype == DType::bf16, sums);
  if (out.dtype == DType::bf16) return turn(call, sums, p.outputs, p.channels, p.taps(), out.as<bf16>());
  turn(call, sums, p.outputs, p.channels, p.taps(), out.as<float>());
}

}  // namespace

WM_REGISTER_CPU_OP(conv2d_bwd_weight, conv2d_bwd_weight, kContiguous)

}  // namespace wm
