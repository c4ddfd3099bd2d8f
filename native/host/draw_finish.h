// What happens to a whole drawing: style, colour cast, blur, grain, 8 bits, reduction to a smaller picture.
#pragma once

#include "native/host/draw_raster.h"

namespace wm {

struct Finish {
  float gain[3];  // colour cast and night
  float blur;     // weight of each neighbour in a row and in a column, 0..0.25
  float grain;    // standard deviation about, in 0..255
  uint32_t seed;
  bool paper;  // another style: outlines, stuff with inverted lightness, fibres of paper
};

// rgb: u8 [H, W, 3].
void finish_scene(SceneCanvas &canvas, const Finish &finish, uint8_t *rgb);

struct SizePair {
  int width, height;
};

// Area average of u8 [H, W, 3]; exact integer arithmetic, halves round up. `to` is not larger than `from`.
void reduce_rgb(const uint8_t *in, SizePair from, uint8_t *out, SizePair to);
// The value that covers most of each pixel, the first met of equal ones; index: [H', W'] place in `in` that it came from.
void reduce_labels(const uint8_t *in, SizePair from, int32_t *index, SizePair to);

}  // namespace wm
