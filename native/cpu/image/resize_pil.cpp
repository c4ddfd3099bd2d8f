// Pillow's antialiased u8 resizing (bilinear; bicubic with a = -0.5): the filter is stretched by the shrink
// factor, weights have 22 fraction bits, columns first, u8 rounding between the two passes.
#include "native/cpu/image/resize_pil.h"

#include <cmath>
#include <vector>

#include "native/core/cpu_info.h"
#include "native/cpu/image/resize.h"

namespace wm {

namespace {

constexpr int kFractionBits = 22;
constexpr int kLowBits = 11;
constexpr int64_t kReadPadding = 16;

double triangle(double x) {
  x = std::fabs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

double cubic(double x) {
  constexpr double kA = -0.5;
  x = std::fabs(x);
  if (x < 1.0) return ((kA + 2.0) * x - (kA + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * kA;
  return 0.0;
}

struct PilAxis {
  std::vector<PilWindow> windows;
  std::vector<int32_t> weight;     // [out, stride]
  std::vector<int16_t> high, low;  // weight = high * 2^11 + low
  int64_t stride = 0;              // a multiple of 4
};

PilAxis make_axis(const ResizeAxis &axis, bool bicubic) {
  const double scale = static_cast<double>(axis.in) / static_cast<double>(axis.out);
  const double stretch = scale < 1.0 ? 1.0 : scale;
  const double support = (bicubic ? 2.0 : 1.0) * stretch;
  PilAxis result;
  result.stride = (static_cast<int64_t>(std::ceil(support)) * 2 + 1 + 3) / 4 * 4;
  result.windows.resize(static_cast<size_t>(axis.out));
  result.weight.assign(static_cast<size_t>(axis.out * result.stride), 0);
  std::vector<double> row(static_cast<size_t>(result.stride));
  for (int64_t i = 0; i < axis.out; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const double inverse = 1.0 / stretch;
    auto first = static_cast<int64_t>(center - support + 0.5);
    if (first < 0) first = 0;
    auto end = static_cast<int64_t>(center + support + 0.5);
    if (end > axis.in) end = axis.in;
    const int64_t count = end - first;
    double total = 0;
    for (int64_t k = 0; k < count; ++k) {
      const double x = (static_cast<double>(k + first) - center + 0.5) * inverse;
      row[k] = bicubic ? cubic(x) : triangle(x);
      total += row[k];
    }
    for (int64_t k = 0; k < count; ++k) {
      const double w = (total != 0.0 ? row[k] / total : row[k]) * (1 << kFractionBits);
      result.weight[i * result.stride + k] = static_cast<int32_t>(w < 0 ? w - 0.5 : w + 0.5);
    }
    result.windows[i] = {static_cast<int32_t>(first), static_cast<int32_t>(count)};
  }
  result.high.resize(result.weight.size());
  result.low.resize(result.weight.size());
  for (size_t i = 0; i < result.weight.size(); ++i) {
    result.high[i] = static_cast<int16_t>(result.weight[i] >> kLowBits);
    result.low[i] = static_cast<int16_t>(result.weight[i] & ((1 << kLowBits) - 1));
  }
  return result;
}

uint8_t clip(int32_t sum) {
  const int32_t value = sum >> kFractionBits;
  return static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

void row_portable(const uint8_t *src, const PilAxis &axis, int64_t channels, int64_t out, uint8_t *dst) {
  for (int64_t i = 0; i < out; ++i) {
    const PilWindow window = axis.windows[i];
    const int32_t *w = axis.weight.data() + i * axis.stride;
    for (int64_t c = 0; c < channels; ++c) {
      const uint8_t *from = src + window.first * channels + c;
      int32_t sum = 1 << (kFractionBits - 1);
      for (int32_t k = 0; k < window.count; ++k) sum += from[k * channels] * w[k];
      dst[i * channels + c] = clip(sum);
    }
  }
}

void column_portable(const uint8_t *src, int64_t pitch, int32_t count, const int32_t *w, int64_t n,
                     int32_t *sums, uint8_t *dst) {
  for (int64_t i = 0; i < n; ++i) sums[i] = 1 << (kFractionBits - 1);
  for (int32_t k = 0; k < count; ++k) {
    const uint8_t *from = src + k * pitch;
    for (int64_t i = 0; i < n; ++i) sums[i] += from[i] * w[k];
  }
  for (int64_t i = 0; i < n; ++i) dst[i] = clip(sums[i]);
}

void columns_pass(const OpCall &call, const uint8_t *src, const PilAxis &axis, int64_t rows, int64_t in,
                  int64_t out, int64_t channels, const PilKernels *kernels, uint8_t *dst) {
  const int64_t in_row = in * channels, out_row = out * channels;
  const bool vector = kernels != nullptr && channels == 3;
  call.parallel(rows, resize_row_grain(in_row), [&](int64_t begin, int64_t end) {
    std::vector<uint8_t> padded;
    for (int64_t y = begin; y < end; ++y) {
      const uint8_t *from = src + y * in_row;
      if (!vector) {
        row_portable(from, axis, channels, out, dst + y * out_row);
        continue;
      }
      if ((rows - 1 - y) * in_row <
          kReadPadding + 3 * axis.stride) {  // the vector loop would read past the image
        padded.assign(from, from + in_row);
        padded.resize(static_cast<size_t>(in_row + kReadPadding + 3 * axis.stride));
        from = padded.data();
      }
      kernels->rgb_row(from, axis.windows.data(), axis.high.data(), axis.low.data(), axis.stride, out,
                       dst + y * out_row);
    }
  });
}

void rows_pass(const OpCall &call, const uint8_t *src, const PilAxis &axis, int64_t out, int64_t n,
               const PilKernels *kernels, uint8_t *dst) {
  call.parallel(out, resize_row_grain(n * axis.stride / 2), [&](int64_t begin, int64_t end) {
    std::vector<int32_t> sums(kernels == nullptr ? static_cast<size_t>(n) : 0);
    for (int64_t y = begin; y < end; ++y) {
      const PilWindow window = axis.windows[y];
      const uint8_t *from = src + window.first * n;
      const int64_t k = y * axis.stride;
      if (kernels == nullptr) {
        column_portable(from, n, window.count, axis.weight.data() + k, n, sums.data(), dst + y * n);
      } else {
        kernels->column(from, n, window.count, axis.high.data() + k, axis.low.data() + k, n, dst + y * n);
      }
    }
  });
}

}  // namespace

void resize_pil_u8(OpCall &call, const ResizeSpec &spec) {
  const bool bicubic = spec.mode == ResizeMode::pil_bicubic;
  const int64_t channels = call.in(0).dim(2);
  const PilKernels *kernels = nullptr;
#if defined(__x86_64__)
  if (cpu_isa() >= Isa::avx2) kernels = &pil_kernels_avx2();
#endif
  const uint8_t *src = call.in(0).as<uint8_t>();
  uint8_t *dst = call.out(0).as<uint8_t>();
  const bool columns = spec.x.in != spec.x.out, rows = spec.y.in != spec.y.out;
  if (!columns && !rows) {
    std::copy(src, src + call.in(0).numel(), dst);
    return;
  }
  if (columns) {
    uint8_t *to = rows ? call.workspace<uint8_t>(spec.y.in * spec.x.out * channels) : dst;
    columns_pass(call, src, make_axis(spec.x, bicubic), spec.y.in, spec.x.in, spec.x.out, channels, kernels,
                 to);
    src = to;
  }
  if (rows) rows_pass(call, src, make_axis(spec.y, bicubic), spec.y.out, spec.x.out * channels, kernels, dst);
}

}  // namespace wm
