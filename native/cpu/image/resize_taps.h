// Source positions and weights of the interpolating modes that work on floating planes.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "native/cpu/image/resize.h"

namespace wm {

// Output i of an axis = sum over t < count of weight[i * count + t] * input[index[i * count + t]].
template <class T>
struct AxisTaps {
  int count;
  std::vector<int32_t> index;
  std::vector<T> weight;
};

// Index rule of torch's nearest modes; the factor is a float there whatever the dtype.
int32_t torch_nearest_index(const ResizeAxis &axis, bool exact, int64_t i);

// Nearest source index for every output index, any nearest mode.
std::vector<int32_t> nearest_table(const ResizeAxis &axis, ResizeMode mode);

namespace resize_detail {

// torch's coordinate factor, computed in the arithmetic type of the map: (in-1)/(out-1), 1/scale or in/out.
template <class T>
T coordinate_factor(const ResizeAxis &axis, bool align_corners) {
  if (align_corners) return axis.out > 1 ? static_cast<T>(axis.in - 1) / static_cast<T>(axis.out - 1) : T{0};
  if (axis.scale > 0) return static_cast<T>(1.0 / axis.scale);
  return static_cast<T>(axis.in) / static_cast<T>(axis.out);
}

template <class T>
T torch_position(const ResizeAxis &axis, bool align_corners, int64_t i) {
  const T factor = coordinate_factor<T>(axis, align_corners);
  if (align_corners) return factor * static_cast<T>(i);
  // One rounding, as the compiled origin does; far from zero the difference would show in the weight.
  return std::fma(factor, static_cast<T>(i) + T(0.5), T(-0.5));
}

// OpenCV's position, in double. Its 8-bit rule rounds it to float, its float rule does not.
inline double opencv_position(const ResizeAxis &axis, int64_t i) {
  const double factor = 1.0 / (static_cast<double>(axis.out) / static_cast<double>(axis.in));
  return (static_cast<double>(i) + 0.5) * factor - 0.5;
}

template <class T, class P>
void linear_tap(AxisTaps<T> &taps, int64_t in, int64_t i, P position) {
  // The upper clamp keeps absurd factors out of the integer cast; it changes no weight that is used.
  const P p = std::min(std::max(position, P{0}), static_cast<P>(in));
  const int64_t low = std::min(static_cast<int64_t>(p), in - 1);
  const P fraction = std::min(std::max(p - static_cast<P>(low), P{0}), P{1});
  taps.index[i * 2] = static_cast<int32_t>(low);
  taps.index[i * 2 + 1] = static_cast<int32_t>(std::min(low + 1, in - 1));
  taps.weight[i * 2] = static_cast<T>(P{1} - fraction);
  taps.weight[i * 2 + 1] = static_cast<T>(fraction);
}

template <class T>
void cubic_tap(AxisTaps<T> &taps, int64_t in, int64_t i, T position) {
  constexpr T kA = T(-0.75);
  const auto inner = [](T x) { return ((kA + 2) * x - (kA + 3)) * x * x + 1; };
  const auto outer = [](T x) { return ((kA * x - 5 * kA) * x + 8 * kA) * x - 4 * kA; };
  const int64_t low =
      std::min(static_cast<int64_t>(std::floor(std::min(position, static_cast<T>(in)))), in - 1);
  const T t = std::min(std::max(position - static_cast<T>(low), T{0}), T{1});
  const T weights[4] = {outer(t + 1), inner(t), inner(1 - t), outer(2 - t)};
  for (int k = 0; k < 4; ++k) {
    taps.index[i * 4 + k] = static_cast<int32_t>(std::min(std::max<int64_t>(low - 1 + k, 0), in - 1));
    taps.weight[i * 4 + k] = weights[k];
  }
}

}  // namespace resize_detail

// Taps of one axis. The nearest torch modes are taps with one weight of 1 (used by the gradient).
template <class T>
AxisTaps<T> make_taps(const ResizeAxis &axis, ResizeMode mode, bool align_corners) {
  using namespace resize_detail;
  const int count = mode == ResizeMode::torch_bicubic ? 4 : is_nearest(mode) ? 1 : 2;
  AxisTaps<T> taps{count, std::vector<int32_t>(static_cast<size_t>(axis.out * count)),
                   std::vector<T>(static_cast<size_t>(axis.out * count))};
  if (is_nearest(mode)) {
    taps.index = nearest_table(axis, mode);
    std::fill(taps.weight.begin(), taps.weight.end(), T{1});
    return taps;
  }
  for (int64_t i = 0; i < axis.out; ++i) {
    if (mode == ResizeMode::torch_bicubic) {
      cubic_tap<T>(taps, axis.in, i, torch_position<T>(axis, align_corners, i));
    } else if (mode == ResizeMode::opencv_linear) {
      linear_tap<T>(taps, axis.in, i, opencv_position(axis, i));
    } else if (axis.in == axis.out) {
      linear_tap<T>(taps, axis.in, i, static_cast<T>(i));  // torch copies then, whatever the factor
    } else {
      linear_tap<T>(taps, axis.in, i, torch_position<T>(axis, align_corners, i));
    }
  }
  return taps;
}

}  // namespace wm
