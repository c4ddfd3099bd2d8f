// Merged score maps row by row: per window bilinear (align_corners false) to the padded window, cut at the
// padding, sum over covering windows over their number on the canvas, then bilinear to the final size
// (kernels.md P3, evaluation.md section 2 steps 6-8). Nothing larger than a few rows exists.
#pragma once

#include <vector>

#include "native/cpu/window/boxes.h"
#include "native/cpu/window/merge_rows.h"

namespace wm {

// Bilinear taps of one axis, from index `first` of the stretched side on.
struct LerpTable {
  std::vector<int32_t> low, high;
  std::vector<float> fraction;
  bool identity = false;

  LerpTable() = default;
  LerpTable(int64_t in, int64_t out, int64_t first, int64_t count);
  ColumnTaps at(int64_t i) const { return {low.data() + i, high.data() + i, fraction.data() + i}; }
};

struct Tile {
  int64_t row0, row1, column0, column1;  // of the final map, end exclusive
};

// What one call asks for. Rows of tiles count from the first row of the final map.
class Compositor {
 public:
  // logits f32 [N, S, h, w], boxes i32 [N, 4]; ten attributes from `first_attr`: canvasH, canvasW, winH,
  // winW, padTop, padLeft, outH, outW, row0, rows.
  Compositor(const OpCall &call, const TensorView &logits, const TensorView &boxes, int first_attr);

  static constexpr int kAttrs = 10;
  static constexpr int64_t kTileRows = 8, kTileColumns = 256;

  int64_t queries() const { return queries_; }
  int64_t rows() const { return rows_; }
  int64_t width() const { return out_w_; }
  int64_t tiles() const;
  Tile tile(int64_t index) const;

  // Scratch of one thread for one tile at a time.
  class Worker {
   public:
    Worker(const Compositor &plan, const Tile &tile);
    // Row r of the tile goes to dst + r * pitch.
    void rows(int64_t query, float *dst, int64_t pitch);

   private:
    void canvas_row(int64_t query, int64_t y, float *dst);
    void column_row(int64_t query, int64_t y, float *dst);

    const Compositor &plan_;
    const MergeKernels &kernels_;
    Tile tile_;
    int64_t segment0_, segment1_;  // canvas columns under the tile
    int64_t canvas0_, canvas1_;    // canvas rows under the tile
    std::vector<Box> boxes_;       // windows under the tile
    std::vector<int64_t> windows_;
    std::vector<float> count_;         // [canvas rows, segment]
    std::vector<char> divided_;        // rows where some count is above 1
    std::vector<int32_t> low_, high_;  // final columns counted from segment0_
    std::vector<float> scratch_, canvas_, ring_;
  };

 private:
  const float *logits_;
  const Box *boxes_ = nullptr;
  int64_t windows_, queries_, h_, w_;
  int64_t canvas_h_, canvas_w_, out_h_, out_w_, row0_, rows_;
  int64_t box_h_ = 0, box_w_ = 0;
  LerpTable window_rows_, window_columns_, out_rows_, out_columns_;
};

}  // namespace wm
