// Merged score maps by tiles: per window bilinear (align_corners false) to the padded window, cut at the padding, sum over
// covering windows over their number on the canvas, then bilinear to the final size (kernels.md P3, evaluation.md section
// 2 steps 6-8). Gathered from the window table: nothing larger than a tile's canvas exists, and nothing is added by two.
#pragma once

#include "cuda/image/rows.cuh"
#include "cuda/window/boxes.cuh"

namespace wm::cuda {

constexpr int kTileColumns = 32, kTileRows = 8, kMergeThreads = kTileColumns * kTileRows;
constexpr int kQueriesAtOnce = 8;  // whose canvas under a tile is in shared memory
constexpr int kSlotRows = 2 * kTileRows, kSlotColumns = 2 * kTileColumns;
constexpr int kListed = 32;  // windows under a tile that are kept at hand; where there are more, all are tried

// Bilinear taps of one position. One 16-byte read.
struct alignas(16) LerpEntry {
  int low, high;
  float fraction;
  int unused;
};

// Entries first .. first + count of an axis stretched from `in` to `out`.
struct LerpAxis {
  int in, out, first, count;
  float factor;
};

constexpr int kLerpAxes = 4;
struct LerpAxes {
  LerpAxis axis[kLerpAxes];  // window rows, window columns, final rows, final columns
};

struct MergePlan {
  const float *logits;  // [windows, queries, h, w]
  const int *boxes;     // [windows, 4]
  int64_t windows, queries;
  int h, w, canvas_h, canvas_w, win_h, win_w, pad_top, pad_left, rows, out_w;
  bool same_rows, same_columns;     // the canvas has the final height, width
  int slot_rows, slot_columns;      // of canvas rows and columns that shared memory holds, at most kSlot..
  int tiles_across;
  const LerpEntry *window_rows, *window_columns, *out_rows, *out_columns;
  Refusal box_refusal, padding_refusal;
};

// logits f32 [N, S, h, w], boxes i32 [N, 4]; ten attributes from `first`: canvasH, canvasW, winH, winW, padTop, padLeft,
// outH, outW, row0, rows. Queues the kernel that fills the tables (in the call's workspace).
constexpr int kMergeAttrs = 10;
MergePlan merge_plan(LaunchCall &call, const TensorView &logits, const TensorView &boxes, int first);

inline dim3 merge_grid(const MergePlan &plan) {
  return dim3(blocks_for(ceil_div(plan.rows, kTileRows) * plan.tiles_across, 1));
}
// Canvas of the queries at once, and the weights of the mean.
inline size_t merge_shared_bytes(const MergePlan &plan) {
  return static_cast<size_t>(plan.slot_rows * plan.slot_columns) * (kQueriesAtOnce + 1) * sizeof(float);
}

// Canvas rows or columns under a tile: a run from `first` on where it fits, else the two that each position reads.
struct Slots {
  const LerpEntry *entry;  // of the tile's first position
  int first, count;
  bool run;

  __device__ __forceinline__ int canvas(int slot) const {
    if (run) return first + slot;
    const LerpEntry e = entry[slot / 2];
    return slot % 2 == 0 ? e.low : e.high;
  }
  __device__ __forceinline__ int low(int position) const { return run ? entry[position].low - first : 2 * position; }
  __device__ __forceinline__ int high(int position) const {
    return run ? entry[position].high - first : 2 * position + 1;
  }
};

__device__ __forceinline__ Slots make_slots(const LerpEntry *entry, int positions, int capacity) {
  const int first = entry[0].low, count = entry[positions - 1].high - first + 1;
  const bool run = count <= capacity;
  return {entry, first, run ? count : 2 * positions, run};
}

__device__ __forceinline__ float lerp(float a, float b, float t) { return fmaf(t, b - a, a); }

// Source row of a window under a canvas row: `low` and the one behind it, low -1 where the window does not reach.
struct RowTap {
  int low;
  float fraction;
};

// What the threads of a block share beside the canvas: 4.9 KB.
struct TileWindows {
  RowTap tap[kListed][kSlotRows];
  Box box[kListed];
  int window[kListed];
  int count;   // windows under the tile
  int broken;  // a box that does not fit
  int row[kSlotRows];
};

// Refuses a box that has not the size of the first or leaves the canvas, and a first one that with its padding leaves the
// stretched map.
__device__ __forceinline__ void refuse_box(const MergePlan &plan, const Box &b, int64_t n) {
  const Box first = load_box(plan.boxes, 0);
  const int64_t height = first.y2 - int64_t{first.y1}, width = first.x2 - int64_t{first.x1};
  if (!box_fits(b, height, width, plan.canvas_h, plan.canvas_w)) {
    plan.box_refusal.at(n, b.y1, b.x1, b.y2, b.x2, static_cast<int>(height), static_cast<int>(width));
  }
  const bool inside = height >= 1 && width >= 1 && plan.pad_top + height <= plan.win_h && plan.pad_left + width <= plan.win_w;
  if (n == 0 && !inside) plan.padding_refusal.at(0, static_cast<int>(height), static_cast<int>(width));
}

// By warp 0: the windows under canvas rows [y0, y1] and columns [x0, x1], in their order.
__device__ __forceinline__ void list_windows(const MergePlan &plan, int y0, int y1, int x0, int x1, TileWindows &list) {
  const int lane = static_cast<int>(threadIdx.x);
  int count = 0;
  unsigned broken = 0;
  for (int64_t base = 0; base < plan.windows; base += kWarp) {
    const int64_t n = base + lane;
    const Box b = n < plan.windows ? load_box(plan.boxes, n) : Box{0, 0, 0, 0};
    const bool fits = b.y1 >= 0 && b.x1 >= 0 && b.y2 <= plan.canvas_h && b.x2 <= plan.canvas_w && b.y1 < b.y2 &&
                      b.x1 < b.x2 && plan.pad_top + b.y2 - b.y1 <= plan.win_h && plan.pad_left + b.x2 - b.x1 <= plan.win_w;
    if (n < plan.windows && blockIdx.x == 0) refuse_box(plan, b, n);
    broken |= __ballot_sync(kFullMask, n < plan.windows && !fits);
    const bool under = fits && b.y1 <= y1 && b.y2 > y0 && b.x1 <= x1 && b.x2 > x0;
    const unsigned found = __ballot_sync(kFullMask, under);
    const int place = count + __popc(found & ((1u << lane) - 1));
    if (under && place < kListed) {
      list.box[place] = b;
      list.window[place] = static_cast<int>(n);
    }
    count += __popc(found);
  }
  if (lane == 0) {
    list.count = count;
    list.broken = broken != 0 ? 1 : 0;
  }
}

// visit(window, box, place in the list or -1) for every window that may cover a pixel under the tile, in the order of the table; none where one is
// broken, since nothing may be read by its box.
template <class Visit>
__device__ __forceinline__ void each_window(const MergePlan &plan, const TileWindows &list, Visit visit) {
  if (list.broken != 0) return;
  if (list.count <= kListed) {
    for (int k = 0; k < list.count; ++k) visit(int64_t{list.window[k]}, list.box[k], k);
  } else {
    for (int64_t n = 0; n < plan.windows; ++n) visit(n, load_box(plan.boxes, n), -1);
  }
}

__device__ __forceinline__ RowTap row_tap(const MergePlan &plan, const Box &b, int y) {
  if (y < b.y1 || y >= b.y2) return {-1, 0.0f};
  const LerpEntry row = plan.window_rows[y - b.y1 + plan.pad_top];
  return {row.low, row.fraction};
}

// Sums of one query down one canvas column: neighbouring rows share their two source rows nearly always, so those are
// read, and interpolated along the columns, when they change.
__device__ __forceinline__ void sum_column(const MergePlan &plan, const TileWindows &list, int rows, int x, int64_t query,
                                           float (&sum)[kSlotRows]) {
  each_window(plan, list, [&](int64_t n, const Box &b, int place) {
    if (x < b.x1 || x >= b.x2) return;
    const LerpEntry column = plan.window_columns[x - b.x1 + plan.pad_left];
    const float *map = plan.logits + (n * plan.queries + query) * plan.h * plan.w;
    int held = -1;
    float top = 0.0f, step = 0.0f;
#pragma unroll
    for (int r = 0; r < kSlotRows; ++r) {
      if (r >= rows) continue;
      const RowTap tap = place >= 0 ? list.tap[place][r] : row_tap(plan, b, list.row[r]);
      if (tap.low < 0) continue;
      if (tap.low != held) {
        held = tap.low;
        const float *upper = map + int64_t{held} * plan.w, *lower = map + int64_t{min(held + 1, plan.h - 1)} * plan.w;
        top = lerp(__ldg(upper + column.low), __ldg(upper + column.high), column.fraction);
        step = lerp(__ldg(lower + column.low), __ldg(lower + column.high), column.fraction) - top;
      }
      sum[r] += fmaf(tap.fraction, step, top);
    }
  });
}

// emit(query, value) for every query in order, by each of the 256 threads whose pixel (row of the final map from row0 on,
// column) exists. Shared memory: `canvas`, merge_shared_bytes; `list`.
template <class Emit>
__device__ __forceinline__ void compose_tile(const MergePlan &plan, int row, int column, float *canvas, TileWindows &list,
                                             Emit emit) {
  const int id = static_cast<int>(threadIdx.x), tx = id % kTileColumns, ty = id / kTileColumns;
  const int row0 = row - ty, column0 = column - tx;
  const Slots rows = make_slots(plan.out_rows + row0, min(kTileRows, plan.rows - row0), plan.slot_rows);
  const Slots columns = make_slots(plan.out_columns + column0, min(kTileColumns, plan.out_w - column0), plan.slot_columns);
  if (id < kWarp) {
    list_windows(plan, rows.canvas(0), rows.canvas(rows.count - 1), columns.canvas(0),
                 columns.canvas(columns.count - 1), list);
  }
  if (id < rows.count) list.row[id] = rows.canvas(id);
  __syncthreads();
  const int pitch = plan.slot_columns, size = plan.slot_rows * pitch;
  for (int k = id; k < min(list.count, kListed) * kSlotRows; k += kMergeThreads) {
    const int place = k / kSlotRows, r = k % kSlotRows;
    if (r < rows.count) list.tap[place][r] = list.broken != 0 ? RowTap{-1, 0.0f} : row_tap(plan, list.box[place], list.row[r]);
  }
  float *share = canvas + kQueriesAtOnce * size;  // 1 / windows that cover a canvas pixel; one none covers stays 0
  for (int slot = id; slot < rows.count * columns.count; slot += kMergeThreads) {
    const int r = slot / columns.count, c = slot - r * columns.count, y = list.row[r], x = columns.canvas(c);
    int count = 0;
    each_window(plan, list, [&](int64_t, const Box &b, int) { count += y >= b.y1 && y < b.y2 && x >= b.x1 && x < b.x2; });
    share[r * pitch + c] = list.broken != 0 ? __uint_as_float(0x7fc00000u) : __fdiv_rn(1.0f, static_cast<float>(max(count, 1)));
  }
  const bool inside = row < plan.rows && column < plan.out_w;
  const int top = inside ? rows.low(ty) * pitch : 0, bottom = inside ? rows.high(ty) * pitch : 0;
  const int left = inside ? columns.low(tx) : 0, right = inside ? columns.high(tx) : 0;
  const float fy = inside ? rows.entry[ty].fraction : 0.0f, fx = inside ? columns.entry[tx].fraction : 0.0f;
  __syncthreads();
  for (int64_t s = 0; s < plan.queries; s += kQueriesAtOnce) {
    const int count = static_cast<int>(min(plan.queries - s, int64_t{kQueriesAtOnce}));
    for (int item = id; item < count * columns.count; item += kMergeThreads) {
      const int q = item / columns.count, c = item - q * columns.count;
      float sum[kSlotRows] = {};
      sum_column(plan, list, rows.count, columns.canvas(c), s + q, sum);
#pragma unroll
      for (int r = 0; r < kSlotRows; ++r) {
        if (r < rows.count) canvas[q * size + r * pitch + c] = sum[r] * share[r * pitch + c];
      }
    }
    __syncthreads();
    for (int q = 0; inside && q < count; ++q) {
      const float *from = canvas + q * size;
      float value = from[top + left];
      if (!plan.same_columns) value = lerp(value, from[top + right], fx);
      if (!plan.same_rows) {
        float below = from[bottom + left];
        if (!plan.same_columns) below = lerp(below, from[bottom + right], fx);
        value = lerp(value, below, fy);
      }
      emit(s + q, value);
    }
    __syncthreads();
  }
}

// Pixel of this thread, from the tile of its block.
__device__ __forceinline__ int merge_row(const MergePlan &plan) {
  return static_cast<int>(blockIdx.x) / plan.tiles_across * kTileRows + static_cast<int>(threadIdx.x) / kTileColumns;
}
__device__ __forceinline__ int merge_column(const MergePlan &plan) {
  return static_cast<int>(blockIdx.x) % plan.tiles_across * kTileColumns + static_cast<int>(threadIdx.x) % kTileColumns;
}

}  // namespace wm::cuda
