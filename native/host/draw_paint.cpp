// Colours of things: light falls along one direction; stripes and dots lie in the thing's own coordinates.
#include "native/host/draw_paint.h"

#include <algorithm>
#include <cmath>

namespace wm {

namespace {

float clamp01(float x) { return std::min(std::max(x, 0.0f), 1.0f); }

// Share of the second colour at a place of the pattern, cells of size 1.
float pattern_share(const Paint &p, float x, float y) {
  if (p.pattern == 1) {
    const float t = x - static_cast<float>(floor_int(x));
    const float inside = 0.25f - std::fabs(t - 0.5f);
    return clamp01(inside * p.sharp + 0.5f);
  }
  const int row = floor_int(y);
  const float sx = x + ((row & 1) != 0 ? 0.5f : 0.0f);
  const float dx = sx - static_cast<float>(floor_int(sx)) - 0.5f, dy = y - static_cast<float>(row) - 0.5f;
  return clamp01((0.31f - std::sqrt(dx * dx + dy * dy)) * p.sharp + 0.5f);
}

}  // namespace

void paint_row(const Paint &p, float x, float y, int n, float *const out[3]) {
  const float *m = p.to_local;
  const float light = p.light[0] + p.light[2] * y, local_x = m[1] * y + m[2], local_y = m[4] * y + m[5];
  if (p.pattern == 0) {
    for (int c = 0; c < 3; ++c) {
      float *to = out[c];
      for (int i = 0; i < n; ++i) {
        const float lit = light + p.light[1] * (x + static_cast<float>(i));
        to[i] = std::min(std::max(p.colour.c[c] * lit, 0.0f), 255.0f);
      }
    }
    return;
  }
  for (int i = 0; i < n; ++i) {
    const float at = x + static_cast<float>(i);
    const float share = pattern_share(p, m[0] * at + local_x, m[3] * at + local_y);
    const float lit = light + p.light[1] * at;
    for (int c = 0; c < 3; ++c) {
      const float value = p.colour.c[c] + (p.second.c[c] - p.colour.c[c]) * share;
      out[c][i] = std::min(std::max(value * lit, 0.0f), 255.0f);
    }
  }
}

}  // namespace wm
