// mask_erode: erosion by a 3x3 square, some times, everything outside the picture counting as empty.
// distance_transform: exact squared Euclidean distance to the nearest set pixel, by Meijster's method:
// columns first, then the lower envelope of parabolas along each row; integers throughout.
#include <algorithm>

#include "native/host/host_args.h"

namespace wm {

namespace {

struct Mask {
  int64_t height, width;
  std::vector<uint8_t> data;
};

constexpr int64_t kFar = int64_t{1} << 62;  // no set pixel at all

// Along lines of `n` pixels `step` apart: keeps pixels with `reach` set pixels on both sides.
void erode_line(const uint8_t *from, uint8_t *to, int64_t n, int64_t step, int64_t reach,
                std::vector<int64_t> &before) {
  int64_t run = 0;
  for (int64_t i = 0; i < n; ++i) {
    run = from[i * step] != 0 ? run + 1 : 0;
    before[i] = run;
  }
  run = 0;
  for (int64_t i = n - 1; i >= 0; --i) {
    run = from[i * step] != 0 ? run + 1 : 0;
    to[i * step] = before[i] > reach && run > reach ? 1 : 0;
  }
}

// Floor of the place from which parabola u is not above parabola i (i < u), with g the column distances.
int64_t separation(const std::vector<int64_t> &g, int64_t i, int64_t u) {
  const int64_t numerator = u * u - i * i + g[u] * g[u] - g[i] * g[i], denominator = 2 * (u - i);
  return numerator >= 0 ? numerator / denominator : -((-numerator + denominator - 1) / denominator);
}

// `steps` erosions by a 3x3 square are one by a square of 2 steps + 1, which goes line by line.
Mask erode(const Mask &mask, int64_t steps) {
  Mask out = mask;
  if (steps <= 0) return out;
  std::vector<int64_t> before(static_cast<size_t>(std::max(mask.height, mask.width)));
  for (int64_t y = 0; y < mask.height; ++y) {
    uint8_t *row = out.data.data() + y * mask.width;
    erode_line(mask.data.data() + y * mask.width, row, mask.width, 1, steps, before);
  }
  for (int64_t x = 0; x < mask.width; ++x) {
    erode_line(out.data.data() + x, out.data.data() + x, mask.height, mask.width, steps, before);
  }
  return out;
}

std::vector<int64_t> squared_distance(const Mask &mask) {
  const int64_t h = mask.height, w = mask.width;
  std::vector<int64_t> result(static_cast<size_t>(h * w));
  // Vertical distance to the nearest set pixel of the column; `none` is further than any pair of pixels.
  const int64_t none = h + w;
  for (int64_t x = 0; x < w; ++x) {
    int64_t distance = none;
    for (int64_t y = 0; y < h; ++y) {
      distance = mask.data[y * w + x] != 0 ? 0 : std::min(distance + 1, none);
      result[y * w + x] = distance;
    }
    distance = none;
    for (int64_t y = h - 1; y >= 0; --y) {
      distance = mask.data[y * w + x] != 0 ? 0 : std::min(distance + 1, none);
      result[y * w + x] = std::min(result[y * w + x], distance);
    }
  }
  std::vector<int64_t> g(static_cast<size_t>(w)), from(static_cast<size_t>(w)),
      vertex(static_cast<size_t>(w));
  for (int64_t y = 0; y < h; ++y) {
    int64_t *row = result.data() + y * w;
    std::copy(row, row + w, g.begin());
    int64_t top = -1;
    for (int64_t u = 0; u < w; ++u) {
      const auto above = [&](int64_t k) {  // parabola u lies under the k-th where that begins
        const int64_t a = from[k] - u, b = from[k] - vertex[k];
        return a * a + g[u] * g[u] <= b * b + g[vertex[k]] * g[vertex[k]];
      };
      while (top >= 0 && above(top)) --top;
      const int64_t begin = top < 0 ? 0 : separation(g, vertex[top], u) + 1;
      if (begin >= w) continue;
      ++top;
      vertex[top] = u;
      from[top] = begin;
    }
    for (int64_t u = w - 1; u >= 0; --u) {
      while (top > 0 && from[top] > u) --top;
      const int64_t i = vertex[top];
      row[u] = g[i] >= none ? kFar : (u - i) * (u - i) + g[i] * g[i];
    }
  }
  return result;
}

Mask mask_input(const HostCall &call, MapSize size) {
  const auto *from = host_array<uint8_t>(call, 0, "mask", size.pixels());
  return {size.height, size.width, std::vector<uint8_t>(from, from + size.pixels())};
}

// mask u8 [H, W]; attrs: height, width, steps -> u8 [H, W]
void mask_erode(HostCall &call) {
  const MapSize size = host_size(call, 0);
  host_output(call, erode(mask_input(call, size), host_int(call, 2, "steps", 0, int64_t{1} << 31)).data);
}

// mask u8 [H, W]; attrs: height, width -> f64 [H, W] of squared distances to the nearest set pixel (infinity:
// none)
void distance_transform(HostCall &call) {
  const MapSize size = host_size(call, 0);
  const std::vector<int64_t> squared = squared_distance(mask_input(call, size));
  auto *out = host_output<double>(call, size.pixels());
  for (size_t i = 0; i < squared.size(); ++i)
    out[i] = squared[i] == kFar ? HUGE_VAL : static_cast<double>(squared[i]);
}

}  // namespace

WM_REGISTER_HOST_OP(mask_erode, mask_erode)
WM_REGISTER_HOST_OP(distance_transform, distance_transform)

}  // namespace wm
