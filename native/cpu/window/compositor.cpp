#include "native/cpu/window/compositor.h"

#include <algorithm>

#include "native/cpu/image/resize_taps.h"

namespace wm {

LerpTable::LerpTable(int64_t in, int64_t out, int64_t first, int64_t count) : identity(in == out) {
  const AxisTaps<float> taps = make_taps<float>({in, out, 0}, ResizeMode::torch_bilinear, false);
  low.resize(static_cast<size_t>(count));
  high.resize(static_cast<size_t>(count));
  fraction.resize(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    low[i] = taps.index[2 * (first + i)];
    high[i] = taps.index[2 * (first + i) + 1];
    fraction[i] = taps.weight[2 * (first + i) + 1];
  }
}

Compositor::Compositor(const OpCall &call, const TensorView &logits, const TensorView &boxes,
                       int first_attr) {
  if (logits.dtype != DType::f32 || logits.ndim != 4) call.reject("logits must be f32 [N, S, h, w]");
  logits_ = logits.as<float>();
  windows_ = logits.dim(0);
  queries_ = logits.dim(1);
  h_ = logits.dim(2);
  w_ = logits.dim(3);
  int64_t value[kAttrs];
  constexpr int64_t kMax = int64_t{1} << 24;
  for (int i = 0; i < kAttrs; ++i) {
    value[i] = call.attr_int(first_attr + i);
    if (value[i] < 0 || value[i] > kMax) call.reject("sizes must be 0..%lld", static_cast<long long>(kMax));
  }
  canvas_h_ = value[0];
  canvas_w_ = value[1];
  const int64_t win_h = value[2], win_w = value[3], pad_top = value[4], pad_left = value[5];
  out_h_ = value[6];
  out_w_ = value[7];
  row0_ = value[8];
  rows_ = value[9];
  if (windows_ < 1 || h_ < 1 || w_ < 1 || canvas_h_ < 1 || canvas_w_ < 1 || out_h_ < 1 || out_w_ < 1) {
    call.reject("windows, maps, canvas and final size must not be empty");
  }
  if (row0_ + rows_ > out_h_)
    call.reject("rows %lld..%lld are outside the final map", static_cast<long long>(row0_),
                static_cast<long long>(row0_ + rows_));
  if (boxes.dtype != DType::i32 || boxes.ndim != 2 || boxes.dim(0) != windows_ || boxes.dim(1) != 4) {
    call.reject("boxes must be i32 [%lld, 4]", static_cast<long long>(windows_));
  }
  const Box first = *boxes.as<Box>();
  box_h_ = first.y2 - int64_t{first.y1};
  box_w_ = first.x2 - int64_t{first.x1};
  boxes_ = checked_boxes(call, boxes, box_h_, box_w_, canvas_h_, canvas_w_);
  if (box_h_ < 1 || box_w_ < 1 || pad_top + box_h_ > win_h || pad_left + box_w_ > win_w) {
    call.reject(refused_padded_box(box_h_, box_w_, win_h, win_w));
  }
  window_rows_ = LerpTable(h_, win_h, pad_top, box_h_);
  window_columns_ = LerpTable(w_, win_w, pad_left, box_w_);
  out_rows_ = LerpTable(canvas_h_, out_h_, 0, out_h_);
  out_columns_ = LerpTable(canvas_w_, out_w_, 0, out_w_);
}

int64_t Compositor::tiles() const {
  return ((rows_ + kTileRows - 1) / kTileRows) * ((out_w_ + kTileColumns - 1) / kTileColumns);
}

Tile Compositor::tile(int64_t index) const {
  const int64_t across = (out_w_ + kTileColumns - 1) / kTileColumns;
  const int64_t r = index / across * kTileRows, c = index % across * kTileColumns;
  return {row0_ + r, row0_ + std::min(r + kTileRows, rows_), c, std::min(c + kTileColumns, out_w_)};
}

Compositor::Worker::Worker(const Compositor &plan, const Tile &tile)
    : plan_(plan),
      kernels_(merge_kernels()),
      tile_(tile),
      segment0_(plan.out_columns_.low[tile.column0]),
      segment1_(plan.out_columns_.high[tile.column1 - 1] + 1),
      canvas0_(plan.out_rows_.low[tile.row0]),
      canvas1_(plan.out_rows_.high[tile.row1 - 1] + 1) {
  const int64_t width = segment1_ - segment0_, height = canvas1_ - canvas0_;
  count_.assign(static_cast<size_t>(height * width), 0.0f);
  divided_.assign(static_cast<size_t>(height), 0);
  for (int64_t n = 0; n < plan.windows_; ++n) {
    const Box b = plan.boxes_[n];
    const int64_t x0 = std::max<int64_t>(b.x1, segment0_), x1 = std::min<int64_t>(b.x2, segment1_);
    const int64_t y0 = std::max<int64_t>(b.y1, canvas0_), y1 = std::min<int64_t>(b.y2, canvas1_);
    if (x0 >= x1 || y0 >= y1) continue;
    boxes_.push_back(b);
    windows_.push_back(n);
    for (int64_t y = y0; y < y1; ++y) {
      float *row = count_.data() + (y - canvas0_) * width;
      for (int64_t x = x0; x < x1; ++x) row[x - segment0_] += 1.0f;
    }
  }
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      float &count = count_[y * width + x];
      if (count > 1.0f) divided_[y] = 1;
      if (count == 0.0f) count = 1.0f;  // a pixel that no window covers stays 0
    }
  }
  const int64_t columns = tile.column1 - tile.column0;
  low_.resize(static_cast<size_t>(columns));
  high_.resize(static_cast<size_t>(columns));
  for (int64_t i = 0; i < columns; ++i) {
    low_[i] = static_cast<int32_t>(plan.out_columns_.low[tile.column0 + i] - segment0_);
    high_[i] = static_cast<int32_t>(plan.out_columns_.high[tile.column0 + i] - segment0_);
  }
  scratch_.resize(static_cast<size_t>(plan.w_ + kRowPadding));
  canvas_.resize(static_cast<size_t>(width + kRowPadding));
  ring_.resize(static_cast<size_t>(2 * columns));
}

// Canvas row y under the tile: sum over the windows that cover it, in their order, over their number.
void Compositor::Worker::canvas_row(int64_t query, int64_t y, float *dst) {
  const int64_t width = segment1_ - segment0_;
  std::fill(dst, dst + width, 0.0f);
  for (size_t k = 0; k < boxes_.size(); ++k) {
    const Box b = boxes_[k];
    if (y < b.y1 || y >= b.y2) continue;
    const float *map = plan_.logits_ + (windows_[k] * plan_.queries_ + query) * plan_.h_ * plan_.w_;
    const LerpTable &rows = plan_.window_rows_;
    const int64_t wy = y - b.y1;
    const int64_t x0 = std::max<int64_t>(b.x1, segment0_), x1 = std::min<int64_t>(b.x2, segment1_);
    kernels_.window_row(map + rows.low[wy] * plan_.w_, map + rows.high[wy] * plan_.w_, rows.fraction[wy],
                        plan_.w_, plan_.window_columns_.at(x0 - b.x1), x1 - x0, scratch_.data(),
                        dst + (x0 - segment0_));
  }
  if (divided_[y - canvas0_]) kernels_.divide_row(dst, count_.data() + (y - canvas0_) * width, width);
}

// The same row at the final columns.
void Compositor::Worker::column_row(int64_t query, int64_t y, float *dst) {
  if (plan_.out_columns_.identity) return canvas_row(query, y, dst);
  canvas_row(query, y, canvas_.data());
  kernels_.lerp_columns(canvas_.data(),
                        {low_.data(), high_.data(), plan_.out_columns_.fraction.data() + tile_.column0},
                        tile_.column1 - tile_.column0, dst);
}

void Compositor::Worker::rows(int64_t query, float *dst, int64_t pitch) {
  const int64_t columns = tile_.column1 - tile_.column0;
  const LerpTable &table = plan_.out_rows_;
  int64_t owner[2] = {-1, -1};
  const auto row = [&](int64_t y) {
    float *data = ring_.data() + (y & 1) * columns;
    if (owner[y & 1] != y) column_row(query, y, data);
    owner[y & 1] = y;
    return data;
  };
  for (int64_t r = tile_.row0; r < tile_.row1; ++r) {
    float *to = dst + (r - tile_.row0) * pitch;
    if (table.identity) {
      column_row(query, r, to);
      continue;
    }
    const float *top = row(table.low[r]);
    const float *bottom = row(table.high[r]);
    kernels_.lerp_rows(top, bottom, table.fraction[r], columns, to);
  }
}

}  // namespace wm
