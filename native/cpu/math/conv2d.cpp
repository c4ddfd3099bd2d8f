// conv2d(x [B, H, W, C], weight [O, C, kh, kw], bias [O]; stride, padding, f32Out) -> [B, H', W', O], and
// conv2d_bwd_input(dy [B, H', W', O], weight; stride, padding, height, width) -> dx [B, H, W, C].
//
// One product a group of images: rows are output pixels, k runs over taps and then channels. The operand of pictures
// is never unfolded: within a tap its rows lie in the picture as they are, and packing reads them there. The gradient
// is the same convolution of dy, spread by the stride, with the weight turned by half a turn.
#include "native/cpu/math/conv2d.h"

#include <algorithm>
#include <cstring>

namespace wm {

int64_t conv_group(int64_t batch, const Border &border, int64_t channels, int64_t element) {
  constexpr int64_t kBytes = int64_t{32} << 20;
  const int64_t image = std::max<int64_t>(1, border.height * border.width * channels * element);
  return std::min(batch, std::max<int64_t>(1, kBytes / image));
}

namespace {

template <class From, class To>
void copy_row(const From *from, int64_t n, To *to) {
  if constexpr (sizeof(From) == sizeof(To)) {
    std::memcpy(to, from, static_cast<size_t>(n) * sizeof(From));
  } else if constexpr (sizeof(To) == 2) {
    for (int64_t i = 0; i < n; ++i) to[i] = to_bf16(from[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = to_float(from[i]);
  }
}

template <class From, class To>
void fill_border(OpCall &call, const TensorView &source, int64_t first, int64_t count, const Border &at,
                 To *to) {
  const int64_t h = source.dim(1), w = source.dim(2), c = source.dim(3), line = at.width * c;
  call.parallel(count * at.height, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, line)),
                [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      To *out = to + r * line;
      const int64_t y = r % at.height - at.top;
      std::memset(static_cast<void *>(out), 0, static_cast<size_t>(line) * sizeof(To));
      if (y < 0 || y % at.step != 0 || y / at.step >= h) continue;
      const From *from = source.as<From>() + ((first + r / at.height) * h + y / at.step) * w * c;
      if (at.step == 1) {
        copy_row(from, w * c, out + at.left * c);
      } else {
        for (int64_t x = 0; x < w; ++x) copy_row(from + x * c, c, out + (at.left + x * at.step) * c);
      }
    }
  });
}

}  // namespace

void conv_border(OpCall &call, const TensorView &source, int64_t first, int64_t count, const Border &border,
                 DType to_dtype, void *to) {
  const bool narrow = source.dtype == DType::bf16;
  if (to_dtype == DType::bf16) {
    if (narrow) return fill_border<bf16>(call, source, first, count, border, static_cast<bf16 *>(to));
    return fill_border<float>(call, source, first, count, border, static_cast<bf16 *>(to));
  }
  if (narrow) return fill_border<bf16>(call, source, first, count, border, static_cast<float *>(to));
  fill_border<float>(call, source, first, count, border, static_cast<float *>(to));
}

std::vector<int64_t> conv_row_starts(const Border &border, int64_t images, int64_t out_h, int64_t stride,
                                     int64_t channels) {
  std::vector<int64_t> starts;
  starts.reserve(static_cast<size_t>(images * out_h));
  for (int64_t b = 0; b < images; ++b) {
    for (int64_t y = 0; y < out_h; ++y)
      starts.push_back((b * border.height + y * stride) * border.width * channels);
  }
  return starts;
}

std::vector<int64_t> conv_tap_starts(const Border &border, int64_t kernel_h, int64_t kernel_w,
                                     int64_t channels) {
  std::vector<int64_t> starts;
  for (int64_t y = 0; y < kernel_h; ++y) {
    for (int64_t x = 0; x < kernel_w; ++x) starts.push_back((y * border.width + x) * channels);
  }
  return starts;
}

namespace {

bool narrow_float(DType t) { return t == DType::f32 || t == DType::bf16; }

// A weight [O, C, taps] as [N, taps, K]: n = o, k = c of the forward product; turned, n = c, k = o and the taps from
// the last to the first.
template <class T>
void order_weight(OpCall &call, const T *weight, int64_t outputs, int64_t channels, int64_t taps, bool turned,
                  T *to) {
  const int64_t n = turned ? channels : outputs, k = turned ? outputs : channels;
  call.parallel(n, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, k * taps)),
                [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t j = 0; j < k; ++j) {
        const T *from = weight + (turned ? j * channels + i : i * channels + j) * taps;
        for (int64_t t = 0; t < taps; ++t) to[(i * taps + t) * k + j] = from[turned ? taps - 1 - t : t];
      }
    }
  });
}

// Panels of the ordered weight, packed once for all groups.
void *packed_weight(OpCall &call, const TensorView &weight, bool turned, bool pairs) {
  const int64_t outputs = weight.dim(0), channels = weight.dim(1), taps = weight.dim(2) * weight.dim(3);
  void *ordered = call.workspace_bytes(std::max<size_t>(1, weight.bytes()));
  if (weight.dtype == DType::bf16) {
    order_weight(call, weight.as<bf16>(), outputs, channels, taps, turned, static_cast<bf16 *>(ordered));
  } else {
    order_weight(call, weight.as<float>(), outputs, channels, taps, turned, static_cast<float *>(ordered));
  }
  GemmOperand operand;
  operand.data = ordered;
  operand.dtype = weight.dtype;
  const int64_t n = turned ? channels : outputs;
  operand.row_stride = (turned ? outputs : channels) * taps;
  operand.k_stride = 1;
  void *packed = call.workspace_bytes(static_cast<size_t>(gemm_packed_bytes(n, operand.row_stride, pairs) + 64));
  gemm_pack_all(call, operand, n, operand.row_stride, pairs, packed);
  return packed;
}

struct Correlation {
  const TensorView *source;  // [B, h, w, c]
  Border border;
  int64_t kernel_h, kernel_w, stride, out_h, out_w;
  int64_t n;  // channels of the result
  const void *packed;
  bool pairs;
  const float *bias;
};

// Every group of images: copy with border, multiply. The result is [B, out_h, out_w, n].
void correlate(OpCall &call, const Correlation &c, const TensorView &out) {
  const TensorView &source = *c.source;
  const int64_t batch = source.dim(0), channels = source.dim(3);
  const DType element = c.pairs ? DType::bf16 : DType::f32;
  const auto size = static_cast<int64_t>(dtype_size(element));
  const Border &b = c.border;
  const int64_t group = conv_group(batch, b, channels, size);
  const bool in_place = source.dtype == element && b.step == 1 && b.height == source.dim(1) &&
                        b.width == source.dim(2) && b.top == 0 && b.left == 0;
  const int64_t image = b.height * b.width * channels * size;
  char *copy = in_place ? nullptr : call.workspace<char>(std::max<int64_t>(1, group * image));
  const std::vector<int64_t> rows = conv_row_starts(b, group, c.out_h, c.stride, channels);
  const std::vector<int64_t> taps = conv_tap_starts(b, c.kernel_h, c.kernel_w, channels);
  for (int64_t first = 0; first < batch; first += group) {
    const int64_t count = std::min(group, batch - first);
    if (!in_place) conv_border(call, source, first, count, b, element, copy);
    GemmArgs args;
    args.m = count * c.out_h * c.out_w;
    args.n = c.n;
    args.k = static_cast<int64_t>(taps.size()) * channels;
    args.pairs = c.pairs;
    args.a.data = in_place ? static_cast<const char *>(source.data) + first * image : copy;
    args.a.dtype = element;
    args.a.row_stride = c.stride * channels;
    args.a.row_run = c.out_w;
    args.a.row_starts = rows.data();
    args.a.k_stride = 1;
    args.a.k_run = channels;
    args.a.k_starts = taps.data();
    args.b.data = c.packed;
    args.b.packed = true;
    args.bias = c.bias;
    args.out_dtype = out.dtype;
    args.out = out.as<char>() + first * c.out_h * c.out_w * c.n * static_cast<int64_t>(dtype_size(out.dtype));
    gemm(call, args);
  }
}

void conv2d(OpCall &call) {
  const TensorView &x = call.in(0), &weight = call.in(1), &out = call.out(0);
  if (x.ndim != 4 || weight.ndim != 4 || x.dim(3) != weight.dim(1) || x.dtype != weight.dtype)
    call.reject("x must be [B, H, W, C] and weight [O, C, kh, kw] of one dtype");
  const ConvProblem p = make_conv_problem(call, x.dim(0), x.dim(1), x.dim(2), x.dim(3), weight.dim(0),
                                     weight.dim(2), weight.dim(3), call.attr_int(0), call.attr_int(1));
  if (out.numel() != p.batch * p.out_pixels() * p.outputs) call.reject("the output does not fit");
  if (call.has(2) && (call.in(2).numel() != p.outputs || call.in(2).dtype != x.dtype))
    call.reject("bias must be [O] in x's dtype");
  if (x.dtype == DType::f64 && out.dtype == DType::f64) return conv2d_f64(call, p);
  if (!narrow_float(x.dtype) || !narrow_float(out.dtype)) call.reject("takes f32, bf16 or f64");
  if (out.numel() == 0) return;
  Correlation c;
  c.source = &x;
  c.border = {p.height + 2 * p.padding, p.width + 2 * p.padding, p.padding, p.padding, 1};
  c.kernel_h = p.kernel_h;
  c.kernel_w = p.kernel_w;
  c.stride = p.stride;
  c.out_h = p.out_h;
  c.out_w = p.out_w;
  c.n = p.outputs;
  c.pairs = x.dtype == DType::bf16;
  c.packed = packed_weight(call, weight, false, c.pairs);
  c.bias = nullptr;
  if (call.has(2)) {
    const TensorView &bias = call.in(2);
    float *wide = call.workspace<float>(p.outputs);
    for (int64_t i = 0; i < p.outputs; ++i)
      wide[i] = c.pairs ? to_float(bias.as<bf16>()[i]) : bias.as<float>()[i];
    c.bias = wide;
  }
  correlate(call, c, out);
}

void conv2d_bwd_input(OpCall &call) {
  const TensorView &dy = call.in(0), &weight = call.in(1), &out = call.out(0);
  if (dy.ndim != 4 || weight.ndim != 4 || dy.dim(3) != weight.dim(0))
    call.reject("dy must be [B, H', W', O] and weight [O, C, kh, kw]");
  const ConvProblem p =
      make_conv_problem(call, dy.dim(0), call.attr_int(2), call.attr_int(3), weight.dim(1), weight.dim(0),
                   weight.dim(2), weight.dim(3), call.attr_int(0), call.attr_int(1));
  if (dy.dim(1) != p.out_h || dy.dim(2) != p.out_w || out.dtype != weight.dtype ||
      out.numel() != p.batch * p.in_pixels() * p.channels)
    call.reject("dy or the output do not fit");
  if (dy.dtype == DType::f64 && weight.dtype == DType::f64) return conv2d_bwd_input_f64(call, p);
  if (!narrow_float(dy.dtype) || !narrow_float(weight.dtype)) call.reject("takes f32, bf16 or f64");
  if (out.numel() == 0) return;
  Correlation c;
  c.source = &dy;
  c.border = {p.height + p.kernel_h - 1, p.width + p.kernel_w - 1, p.kernel_h - 1 - p.padding,
              p.kernel_w - 1 - p.padding, p.stride};
  c.kernel_h = p.kernel_h;
  c.kernel_w = p.kernel_w;
  c.stride = 1;
  c.out_h = p.height;
  c.out_w = p.width;
  c.n = p.channels;
  c.pairs = weight.dtype == DType::bf16;
  c.packed = packed_weight(call, weight, true, c.pairs);
  c.bias = nullptr;
  correlate(call, c, out);
}

}  // namespace

WM_REGISTER_CPU_OP(conv2d, conv2d, kContiguous)
WM_REGISTER_CPU_OP(conv2d_bwd_input, conv2d_bwd_input, kContiguous)

}  // namespace wm
