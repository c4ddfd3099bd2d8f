// Coverage of polygons by signed areas: each edge adds, row by row, the area to its right as differences along x; a
// running sum then gives the covered part of every pixel.
#include "native/host/draw_raster.h"

#include <algorithm>

namespace wm {

void SceneCanvas::resize(int w, int h) {
  width = w;
  height = h;
  const size_t n = static_cast<size_t>(w) * h;
  for (auto &p : plane) p.assign(n, 0.0f);
  label.assign(n, 0);
  object.assign(n, 0);
  part.assign(n, 0);
  cover.assign(n, 0.0f);
  area.assign(static_cast<size_t>(w + 2) * h, 0.0f);
  for (auto &r : row) r.resize(static_cast<size_t>(w));
}

namespace {

// One row's share of an edge: it goes down by dy (signed) while x moves from xa to xb, both within 0..width.
void add_row(float *out, float xa, float xb, float dy) {
  const float left = std::min(xa, xb), right = std::max(xa, xb);
  const int first = static_cast<int>(left), last = static_cast<int>(right);
  if (last == first) {
    const float middle = 0.5f * (left + right) - static_cast<float>(first);
    out[first] += dy - dy * middle;
    out[first + 1] += dy * middle;
    return;
  }
  // The edge crosses several pixels: `passed` is the area right of it, up to the pixel reached.
  const float slope = dy / (right - left);
  float x = left, covered = 0.0f, passed = 0.0f;
  for (int i = first; i <= last; ++i) {
    const float next = std::min(right, static_cast<float>(i + 1)), share = slope * (next - x);
    const float middle = 0.5f * (x + next) - static_cast<float>(i);
    const float here = covered + share * (1.0f - middle);
    out[i] += here - passed;
    passed = here;
    covered += share;
    x = next;
  }
  out[last + 1] += dy - passed;
}

void add_edge(SceneCanvas &canvas, Point p, Point q) {
  if (p.y == q.y) return;
  const float direction = p.y < q.y ? 1.0f : -1.0f;
  if (direction < 0.0f) std::swap(p, q);
  const float height = static_cast<float>(canvas.height), width = static_cast<float>(canvas.width);
  if (q.y <= 0.0f || p.y >= height) return;
  const float slope = (q.x - p.x) / (q.y - p.y);
  const float top = std::max(p.y, 0.0f), bottom = std::min(q.y, height);
  const int last = std::min(canvas.height - 1, static_cast<int>(bottom));
  for (int y = static_cast<int>(top); y <= last; ++y) {
    const float ya = std::max(top, static_cast<float>(y)), yb = std::min(bottom, static_cast<float>(y + 1));
    if (yb <= ya) continue;
    const float xa = p.x + slope * (ya - p.y), xb = p.x + slope * (yb - p.y);
    add_row(canvas.area.data() + static_cast<size_t>(y) * (canvas.width + 2),
            std::min(std::max(xa, 0.0f), width), std::min(std::max(xb, 0.0f), width), direction * (yb - ya));
  }
}

PixelBox box_of(const SceneCanvas &canvas, const Point *points, int n) {
  float x0 = points[0].x, x1 = x0, y0 = points[0].y, y1 = y0;
  for (int i = 1; i < n; ++i) {
    x0 = std::min(x0, points[i].x);
    x1 = std::max(x1, points[i].x);
    y0 = std::min(y0, points[i].y);
    y1 = std::max(y1, points[i].y);
  }
  const auto clip = [](float v, int limit) {
    return static_cast<int>(std::min(std::max(v, 0.0f), static_cast<float>(limit)));
  };
  return {clip(x0, canvas.width), clip(y0, canvas.height), clip(x1 + 1.0f, canvas.width),
          clip(y1 + 1.0f, canvas.height)};
}

}  // namespace

PixelBox cover_polygon(SceneCanvas &canvas, const Point *points, const int *counts, int contours) {
  int total = 0;
  for (int c = 0; c < contours; ++c) total += counts[c];
  if (total == 0) return {0, 0, 0, 0};
  const PixelBox box = box_of(canvas, points, total);
  if (box.empty()) return box;
  const size_t stride = static_cast<size_t>(canvas.width) + 2;
  for (int y = box.y0; y < box.y1; ++y) {
    float *row = canvas.area.data() + y * stride;
    std::fill(row + box.x0, row + std::min<int>(box.x1 + 2, canvas.width + 2), 0.0f);
  }
  for (int c = 0; c < contours; ++c) {
    for (int i = 0; i < counts[c]; ++i) add_edge(canvas, points[i], points[i + 1 < counts[c] ? i + 1 : 0]);
    points += counts[c];
  }
  for (int y = box.y0; y < box.y1; ++y) {
    float *row = canvas.area.data() + y * stride;
    float sum = 0.0f;
    for (int x = box.x0; x < box.x1; ++x) {
      sum += row[x];
      const float size = sum < 0.0f ? -sum : sum;
      row[x] = std::min(size, 1.0f);
    }
  }
  return box;
}

}  // namespace wm
