// Inner loops of Pillow's antialiased resizing that exist per instruction set.
#pragma once

#include <cstdint>

namespace wm {

// One output position: `count` source positions from `first`. Weights have 22 fraction bits.
struct PilWindow {
  int32_t first;
  int32_t count;
};

struct PilKernels {
  // One row of RGB pixels: dst[3i + c] = clip((2^21 + sum_k w[i*stride + k] * src[3(first_i + k) + c]) >>
  // 22). `high` and `low` hold w >> 11 and w & 2047, each position padded with zeros to `stride`, a multiple
  // of 4. Reads up to 16 bytes past the last pixel.
  void (*rgb_row)(const uint8_t *src, const PilWindow *windows, const int16_t *high, const int16_t *low,
                  int64_t stride, int64_t out, uint8_t *dst);
  // The same sum down `count` rows of `n` samples, `pitch` bytes apart. `high` and `low` padded to an even
  // count.
  void (*column)(const uint8_t *src, int64_t pitch, int32_t count, const int16_t *high, const int16_t *low,
                 int64_t n, uint8_t *dst);
};

const PilKernels &pil_kernels_avx2();

}  // namespace wm
