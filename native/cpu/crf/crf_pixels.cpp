#include "native/cpu/crf/crf_pixels.h"

#include <algorithm>

namespace wm {

namespace {

constexpr int64_t kBlock = 8;

// Side of a square chunk: rows of both lattices of a chunk (one to two thousand at the usual settings), read once
// and accumulated once, should fit about half a megabyte. At most 64: local vertex numbers are 16 bits wide.
int64_t chunk_side(int64_t row_floats) {
  if (row_floats <= 48) return 64;
  return row_floats <= 160 ? 32 : 16;
}

}  // namespace

PixelOrder::PixelOrder(int64_t width, int64_t height, int64_t row_floats) : width_(width), height_(height) {
  const int64_t side = chunk_side(row_floats);
  tile_height_ = std::min(side, std::max<int64_t>(height, 1));
  tile_width_ = side * side / tile_height_;  // a strip of few rows gets long chunks
  packed_.reserve(static_cast<size_t>(width * height));
  chunk_start_.push_back(0);
  for (int64_t top = 0; top < height; top += tile_height_) {
    const int64_t bottom = std::min(height, top + tile_height_);
    for (int64_t left = 0; left < width; left += tile_width_) {
      const int64_t right = std::min(width, left + tile_width_);
      for (int64_t by = top; by < bottom; by += kBlock) {
        for (int64_t bx = left; bx < right; bx += kBlock) {
          for (int64_t row = by; row < std::min(bottom, by + kBlock); ++row) {
            for (int64_t column = bx; column < std::min(right, bx + kBlock); ++column) {
              packed_.push_back(static_cast<uint32_t>(row << 16 | column));
            }
          }
        }
      }
      chunk_start_.push_back(static_cast<int64_t>(packed_.size()));
    }
  }
}

}  // namespace wm
