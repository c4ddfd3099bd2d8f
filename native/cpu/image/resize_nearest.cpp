// The nearest modes of resize: copies of whole samples, any element size.
#include <cstring>

#include "native/cpu/image/resize_taps.h"

namespace wm {

namespace {

// Pillow walks the row with a running sum, so its rounding errors are part of the rule.
void pil_nearest_table(const ResizeAxis &axis, std::vector<int32_t> &table) {
  const double step = static_cast<double>(axis.in) / static_cast<double>(axis.out);
  double position = step * 0.5;
  for (int64_t i = 0; i < axis.out; ++i) {
    table[i] = static_cast<int32_t>(std::min(static_cast<int64_t>(position), axis.in - 1));
    position += step;
  }
}

template <class T>
void copy_samples(const OpCall &call, const std::vector<int32_t> &xs, const std::vector<int32_t> &ys,
                  const ResizeSpec &spec, int64_t planes, int64_t channels) {
  const T *src = call.in(0).as<T>();
  T *dst = call.out(0).as<T>();
  const int64_t in_row = spec.x.in * channels, out_row = spec.x.out * channels;
  call.parallel(planes * spec.y.out, resize_row_grain(out_row), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T *from = src + ((r / spec.y.out) * spec.y.in + ys[r % spec.y.out]) * in_row;
      T *to = dst + r * out_row;
      if (channels == 1) {
        for (int64_t i = 0; i < spec.x.out; ++i) to[i] = from[xs[i]];
      } else {
        for (int64_t i = 0; i < spec.x.out; ++i) {
          for (int64_t c = 0; c < channels; ++c) to[i * channels + c] = from[xs[i] * channels + c];
        }
      }
    }
  });
}

}  // namespace

int32_t torch_nearest_index(const ResizeAxis &axis, bool exact, int64_t i) {
  const float factor = resize_detail::coordinate_factor<float>(axis, false);
  const float position =
      exact ? static_cast<float>((static_cast<double>(i) + 0.5) * static_cast<double>(factor))
            : static_cast<float>(i) * factor;
  const float bounded = std::min(position, static_cast<float>(axis.in));
  return static_cast<int32_t>(std::min(static_cast<int64_t>(std::floor(bounded)), axis.in - 1));
}

std::vector<int32_t> nearest_table(const ResizeAxis &axis, ResizeMode mode) {
  std::vector<int32_t> table(static_cast<size_t>(axis.out));
  if (mode == ResizeMode::pil_nearest) {
    pil_nearest_table(axis, table);
    return table;
  }
  const double opencv_factor = 1.0 / (static_cast<double>(axis.out) / static_cast<double>(axis.in));
  for (int64_t i = 0; i < axis.out; ++i) {
    if (mode == ResizeMode::opencv_nearest) {
      const auto low = static_cast<int64_t>(std::floor(static_cast<double>(i) * opencv_factor));
      table[i] = static_cast<int32_t>(std::min(low, axis.in - 1));
    } else {
      table[i] = torch_nearest_index(axis, mode == ResizeMode::torch_nearest_exact, i);
    }
  }
  return table;
}

void resize_nearest(OpCall &call, const ResizeSpec &spec, bool channels_last) {
  const std::vector<int32_t> xs = nearest_table(spec.x, spec.mode);
  const std::vector<int32_t> ys = nearest_table(spec.y, spec.mode);
  const TensorView &x = call.in(0);
  const int64_t planes = channels_last ? 1 : x.numel() / (spec.x.in * spec.y.in);
  const int64_t channels = channels_last ? x.dim(2) : 1;
  switch (dtype_size(x.dtype)) {
    case 1: return copy_samples<uint8_t>(call, xs, ys, spec, planes, channels);
    case 2: return copy_samples<uint16_t>(call, xs, ys, spec, planes, channels);
    case 4: return copy_samples<uint32_t>(call, xs, ys, spec, planes, channels);
    default: return copy_samples<uint64_t>(call, xs, ys, spec, planes, channels);
  }
}

}  // namespace wm
