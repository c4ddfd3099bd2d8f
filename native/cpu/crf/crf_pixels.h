// The order in which the dense CRF visits pixels: rectangular chunks of the image, 8x8 blocks inside a chunk.
// Pixels near each other share lattice vertices, so a chunk works on rows that stay in the second-level cache. A chunk
// is also the unit of parallel work; it depends on the problem alone, never on the thread count.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace wm {

class PixelOrder {
 public:
  // row_floats: padded number of classes, from which the chunk size follows.
  PixelOrder(int64_t width, int64_t height, int64_t row_floats);

  int64_t width() const { return width_; }
  int64_t height() const { return height_; }
  int64_t size() const { return width_ * height_; }
  int64_t chunks() const { return static_cast<int64_t>(chunk_start_.size()) - 1; }
  int64_t chunk_begin(int64_t chunk) const { return chunk_start_[static_cast<size_t>(chunk)]; }
  int64_t chunk_end(int64_t chunk) const { return chunk_start_[static_cast<size_t>(chunk) + 1]; }
  // Pixels of a full chunk: two lattices of one size agree in their chunks where this agrees.
  int64_t chunk_pixels() const { return tile_width_ * tile_height_; }

  int64_t x(int64_t i) const { return packed_[static_cast<size_t>(i)] & 0xffff; }
  int64_t y(int64_t i) const { return packed_[static_cast<size_t>(i)] >> 16; }
  // Index y*W + x of the i-th pixel visited.
  int64_t pixel(int64_t i) const { return y(i) * width_ + x(i); }

 private:
  int64_t width_, height_, tile_width_, tile_height_;
  std::vector<uint32_t> packed_;  // y << 16 | x
  std::vector<int64_t> chunk_start_;
};

}  // namespace wm
