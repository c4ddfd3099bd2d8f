// Rasteriser of drawn scenes: polygons with exact area coverage on a planar f32 canvas, hard labels beside it. Only
// + - * / and square roots in a fixed order reach a pixel, so every machine and thread count gives the same bytes.
#pragma once

#include <cstdint>
#include <vector>

namespace wm {

// Largest whole number not above x, which is first brought within +-1e9.
inline int floor_int(float x) {
  x = x > -1e9f ? (x < 1e9f ? x : 1e9f) : -1e9f;
  const int i = static_cast<int>(x);
  return i - (x < static_cast<float>(i) ? 1 : 0);
}

struct Point {
  float x, y;
};

// Pixels x0 <= x < x1, y0 <= y < y1.
struct PixelBox {
  int x0, y0, x1, y1;
  bool empty() const { return x0 >= x1 || y0 >= y1; }
};

struct SceneCanvas {
  int width = 0, height = 0;
  std::vector<float> plane[3];         // [H, W] each, 0..255
  std::vector<uint8_t> label, object;  // [H, W]
  std::vector<uint8_t> part;           // [H, W] number of the last fill, for outlines
  std::vector<float> cover;            // [H, W] of the object being drawn
  std::vector<float> area;             // [H, W + 2] differences of coverage of one fill
  std::vector<float> row[7];           // scratch of one row

  void resize(int w, int h);
};

// Covered part of every pixel of the contours' box, 0..1, left in canvas.area (row stride W + 2). Contours run one way
// round, holes the other. Returns the box.
PixelBox cover_polygon(SceneCanvas &canvas, const Point *points, const int *counts, int contours);

}  // namespace wm
