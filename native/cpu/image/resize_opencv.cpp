// OpenCV's u8 resizing: INTER_LINEAR in 11-bit fixed point (evaluation.md section 2, step 3) and INTER_AREA
// (box average in f32, or the same fixed point with cell positions where a side grows).
#include <algorithm>
#include <cmath>
#include <vector>

#include "native/cpu/image/resize_taps.h"

namespace wm {

namespace {

struct FixedTaps {
  std::vector<int32_t> low, high;  // source positions
  std::vector<int16_t> w0, w1;     // 11-bit weights
};

int16_t fixed_weight(float w) { return static_cast<int16_t>(std::lrintf(w * 2048.0f)); }

// `cells`: the positions INTER_AREA uses where a side grows. `clamp_weight`: columns drop the fraction at the
// borders, rows keep it and clamp only the row numbers.
FixedTaps fixed_taps(const ResizeAxis &axis, bool cells, bool clamp_weight) {
  const auto n = static_cast<size_t>(axis.out);
  FixedTaps taps{std::vector<int32_t>(n), std::vector<int32_t>(n), std::vector<int16_t>(n),
                 std::vector<int16_t>(n)};
  const double inverse = static_cast<double>(axis.out) / static_cast<double>(axis.in);
  const double factor = 1.0 / inverse;
  for (int64_t i = 0; i < axis.out; ++i) {
    int64_t k;
    float a;
    if (cells) {
      k = static_cast<int64_t>(std::floor(static_cast<double>(i) * factor));
      a = static_cast<float>(static_cast<double>(i + 1) - static_cast<double>(k + 1) * inverse);
      a = a <= 0 ? 0.0f : a - std::floor(a);
    } else {
      const auto p = static_cast<float>(resize_detail::opencv_position(axis, i));
      k = static_cast<int64_t>(std::floor(p));
      a = p - static_cast<float>(k);
    }
    if (clamp_weight && (k < 0 || k >= axis.in - 1)) a = 0;
    const int64_t last = axis.in - 1;
    taps.low[i] = static_cast<int32_t>(std::min(std::max<int64_t>(k, 0), last));
    taps.high[i] = static_cast<int32_t>(std::min(std::max<int64_t>(k + 1, 0), last));
    taps.w0[i] = fixed_weight(1.0f - a);
    taps.w1[i] = fixed_weight(a);
  }
  return taps;
}

// Row sums p0*w0 + p1*w1 shifted right by 4: they fit 16 bits, and the second pass wants nothing finer.
template <int kChannels>
void linear_columns(const uint8_t *src, const FixedTaps &taps, int64_t out, int64_t channels, int16_t *dst) {
  const int64_t n = kChannels > 0 ? kChannels : channels;
  for (int64_t i = 0; i < out; ++i) {
    const uint8_t *a = src + taps.low[i] * n;
    const uint8_t *b = src + taps.high[i] * n;
    const int w0 = taps.w0[i], w1 = taps.w1[i];
    for (int64_t c = 0; c < n; ++c) dst[i * n + c] = static_cast<int16_t>((a[c] * w0 + b[c] * w1) >> 4);
  }
}

void linear_rows(const int16_t *a, const int16_t *b, int16_t w0, int16_t w1, int64_t n, uint8_t *dst) {
  for (int64_t i = 0; i < n; ++i) {
    const int top = (static_cast<int>(a[i]) * w0) >> 16;
    const int bottom = (static_cast<int>(b[i]) * w1) >> 16;
    const int value = (top + bottom + 2) >> 2;
    dst[i] = static_cast<uint8_t>(value > 255 ? 255 : value);
  }
}

void resize_linear(const OpCall &call, const ResizeSpec &spec, bool cells) {
  const int64_t channels = call.in(0).dim(2);
  const FixedTaps xs = fixed_taps(spec.x, cells, true);
  const FixedTaps ys = fixed_taps(spec.y, cells, false);
  const uint8_t *src = call.in(0).as<uint8_t>();
  uint8_t *dst = call.out(0).as<uint8_t>();
  const int64_t in_row = spec.x.in * channels, out_row = spec.x.out * channels;
  call.parallel(spec.y.out, resize_row_grain(out_row), [&](int64_t begin, int64_t end) {
    std::vector<int16_t> rows(static_cast<size_t>(2 * out_row));
    int32_t owner[2] = {-1, -1};
    const auto row = [&](int32_t y) {
      int16_t *data = rows.data() + (y & 1) * out_row;
      if (owner[y & 1] != y) {
        const uint8_t *from = src + y * in_row;
        if (channels == 3)
          linear_columns<3>(from, xs, spec.x.out, 3, data);
        else if (channels == 1)
          linear_columns<1>(from, xs, spec.x.out, 1, data);
        else
          linear_columns<0>(from, xs, spec.x.out, channels, data);
        owner[y & 1] = y;
      }
      return data;
    };
    for (int64_t y = begin; y < end; ++y) {
      const int16_t *a = row(ys.low[y]);
      const int16_t *b = row(ys.high[y]);
      linear_rows(a, b, ys.w0[y], ys.w1[y], out_row, dst + y * out_row);
    }
  });
}

struct AreaTap {
  int32_t out, in;
  float weight;
};

// Every source sample that a cell of `factor` samples touches, with the share of the cell that it covers.
// Slivers under 1e-3 of a sample are dropped, as in the origin.
std::vector<AreaTap> area_taps(const ResizeAxis &axis, double factor) {
  std::vector<AreaTap> taps;
  for (int64_t i = 0; i < axis.out; ++i) {
    const double begin = static_cast<double>(i) * factor, end = begin + factor;
    const double cell = std::min(factor, static_cast<double>(axis.in) - begin);
    const int64_t last = std::min(static_cast<int64_t>(std::floor(end)), axis.in - 1);
    const int64_t first = std::min(static_cast<int64_t>(std::ceil(begin)), last);
    const auto add = [&](int64_t k, double share) {
      taps.push_back({static_cast<int32_t>(i), static_cast<int32_t>(k), static_cast<float>(share / cell)});
    };
    if (static_cast<double>(first) - begin > 1e-3) add(first - 1, static_cast<double>(first) - begin);
    for (int64_t k = first; k < last; ++k) add(k, 1.0);
    if (end - static_cast<double>(last) > 1e-3)
      add(last, std::min(std::min(end - static_cast<double>(last), 1.0), cell));
  }
  return taps;
}

uint8_t to_u8(float x) {
  const long value = std::lrintf(x);
  return static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

void area_general(const OpCall &call, const ResizeSpec &spec, double fx, double fy) {
  const int64_t channels = call.in(0).dim(2);
  const std::vector<AreaTap> xs = area_taps(spec.x, fx), ys = area_taps(spec.y, fy);
  std::vector<size_t> first(static_cast<size_t>(spec.y.out) + 1, ys.size());
  for (size_t t = ys.size(); t-- > 0;) first[static_cast<size_t>(ys[t].out)] = t;
  const uint8_t *src = call.in(0).as<uint8_t>();
  uint8_t *dst = call.out(0).as<uint8_t>();
  const int64_t in_row = spec.x.in * channels, out_row = spec.x.out * channels;
  call.parallel(spec.y.out, resize_row_grain(out_row), [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(out_row)), sum(static_cast<size_t>(out_row));
    for (int64_t y = begin; y < end; ++y) {
      std::fill(sum.begin(), sum.end(), 0.0f);
      for (size_t t = first[y]; t < first[y + 1]; ++t) {
        std::fill(row.begin(), row.end(), 0.0f);
        const uint8_t *from = src + ys[t].in * in_row;
        for (const AreaTap &tap : xs) {
          for (int64_t c = 0; c < channels; ++c)
            row[tap.out * channels + c] += from[tap.in * channels + c] * tap.weight;
        }
        for (int64_t i = 0; i < out_row; ++i) sum[i] += ys[t].weight * row[i];
      }
      for (int64_t i = 0; i < out_row; ++i) dst[y * out_row + i] = to_u8(sum[i]);
    }
  });
}

// Whole-number factors: plain integer sums, one rounding. 2 x 2 rounds halves up, all others half to even.
void area_whole(const OpCall &call, const ResizeSpec &spec, int64_t fx, int64_t fy) {
  const int64_t channels = call.in(0).dim(2);
  const uint8_t *src = call.in(0).as<uint8_t>();
  uint8_t *dst = call.out(0).as<uint8_t>();
  const int64_t in_row = spec.x.in * channels, out_row = spec.x.out * channels;
  const bool halves_up = fx == 2 && fy == 2 && (channels == 1 || channels == 3 || channels == 4);
  const float share = 1.0f / static_cast<float>(fx * fy);
  call.parallel(spec.y.out, resize_row_grain(in_row * fy), [&](int64_t begin, int64_t end) {
    std::vector<int32_t> sum(static_cast<size_t>(out_row));
    for (int64_t y = begin; y < end; ++y) {
      std::fill(sum.begin(), sum.end(), 0);
      for (int64_t k = 0; k < fy; ++k) {
        const uint8_t *from = src + (y * fy + k) * in_row;
        for (int64_t i = 0; i < spec.x.out; ++i) {
          for (int64_t j = 0; j < fx; ++j) {
            for (int64_t c = 0; c < channels; ++c) sum[i * channels + c] += from[(i * fx + j) * channels + c];
          }
        }
      }
      for (int64_t i = 0; i < out_row; ++i) {
        dst[y * out_row + i] =
            halves_up ? static_cast<uint8_t>((sum[i] + 2) >> 2) : to_u8(static_cast<float>(sum[i]) * share);
      }
    }
  });
}

void resize_area(const OpCall &call, const ResizeSpec &spec) {
  const double fx = 1.0 / (static_cast<double>(spec.x.out) / static_cast<double>(spec.x.in));
  const double fy = 1.0 / (static_cast<double>(spec.y.out) / static_cast<double>(spec.y.in));
  if (fx < 1 || fy < 1) return resize_linear(call, spec, true);
  const auto whole_x = static_cast<int64_t>(std::llrint(fx)), whole_y = static_cast<int64_t>(std::llrint(fy));
  constexpr double kEpsilon = 2.220446049250313e-16;
  const bool whole = std::abs(fx - static_cast<double>(whole_x)) < kEpsilon &&
                     std::abs(fy - static_cast<double>(whole_y)) < kEpsilon &&
                     whole_x * spec.x.out <= spec.x.in && whole_y * spec.y.out <= spec.y.in;
  if (whole && whole_x * whole_y < (int64_t{1} << 23)) return area_whole(call, spec, whole_x, whole_y);
  area_general(call, spec, fx, fy);
}

}  // namespace

void resize_opencv_u8(OpCall &call, const ResizeSpec &spec) {
  if (spec.mode == ResizeMode::opencv_area) return resize_area(call, spec);
  resize_linear(call, spec, false);
}

}  // namespace wm
