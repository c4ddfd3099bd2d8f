// Paints of drawn scenes: what colour a pixel of a thing or of a stuff region has, one row at a time.
#pragma once

#include "native/host/draw_raster.h"

namespace wm {

struct Rgb {
  float c[3];
};

// Things: a colour, lit along one direction, with an optional pattern of a second colour.
struct Paint {
  Rgb colour, second;
  float alpha;
  int pattern;        // 0 plain, 1 stripes, 2 dots
  float to_local[6];  // pixel -> pattern cells: x' = m0 x + m1 y + m2, y' = m3 x + m4 y + m5
  float sharp;        // pixels a cell: width of a soft edge
  float light[3];     // brightness = l0 + l1 x + l2 y
};

// Stuff: one of ten families of textures in scene units (1 = the shorter side of the picture).
struct Texture {
  int kind;  // index of the stuff class
  uint32_t seed;
  float top, bottom;  // extent of the region along v
  Rgb a, b, c;        // base, dark, light
  float p;            // kind's own parameter
};

// A row of pixels: scene coordinates of the first one, step along u.
struct TextureRow {
  float u, du, v;
  int n;
};

// out: three rows of n values, 0..255.
void paint_row(const Paint &paint, float x, float y, int n, float *const out[3]);
// scratch: four rows of n values.
void texture_row(const Texture &texture, const TextureRow &row, float *const scratch[4], float *const out[3]);

// A number of 24 bits out of two whole numbers, as -1..1.
float lattice_value(int x, int y, uint32_t seed);

}  // namespace wm
