// connected_components, segment_stats, filter_small: regions of equal label in a label map (kernels.md P8),
// exact.
#include <algorithm>
#include <climits>
#include <vector>

#include "native/core/op.h"

namespace wm {

namespace {

// Disjoint sets of provisional numbers; the root is the smallest one, which is that of the region's first
// pixel.
class Sets {
 public:
  int32_t fresh() {
    parent_.push_back(static_cast<int32_t>(parent_.size()));
    return parent_.back();
  }
  int32_t find(int32_t i) {
    while (parent_[i] != i) {
      parent_[i] = parent_[parent_[i]];
      i = parent_[i];
    }
    return i;
  }
  int32_t join(int32_t a, int32_t b) {
    a = find(a);
    b = find(b);
    if (a < b) std::swap(a, b);
    parent_[a] = b;
    return b;
  }
  // Replaces every entry by the region's final number, 1 .. n in the order of first pixels; returns n.
  int32_t number() {
    int32_t n = 0;
    for (size_t i = 0; i < parent_.size(); ++i) {
      // A parent is smaller than its child, so it holds its final number already.
      parent_[i] = parent_[i] == static_cast<int32_t>(i) ? ++n : parent_[parent_[i]];
    }
    return n;
  }
  int32_t operator[](int32_t i) const { return parent_[i]; }

 private:
  std::vector<int32_t> parent_;
};

constexpr int32_t kOutside = -1;

template <class T>
int32_t label_regions(const T *label, int64_t h, int64_t w, bool eight, int64_t nothing, int32_t *out) {
  Sets sets;
  for (int64_t y = 0; y < h; ++y) {
    const T *row = label + y * w;
    int32_t *to = out + y * w;
    for (int64_t x = 0; x < w; ++x) {
      const T value = row[x];
      if (static_cast<int64_t>(value) == nothing) {
        to[x] = kOutside;
        continue;
      }
      int32_t id = kOutside;
      const auto meet = [&](int64_t neighbour) {
        if (row[neighbour] != value) return;
        const int32_t other = to[neighbour];
        if (id == kOutside)
          id = other;
        else if (other != id)
          id = sets.join(id, other);
      };
      if (x > 0) meet(x - 1);
      if (y > 0) {
        if (eight && x > 0) meet(x - 1 - w);
        meet(x - w);
        if (eight && x + 1 < w) meet(x + 1 - w);
      }
      to[x] = id == kOutside ? sets.fresh() : id;
    }
  }
  const int32_t n = sets.number();
  for (int64_t i = 0; i < h * w; ++i) out[i] = out[i] == kOutside ? 0 : sets[out[i]];
  return n;
}

void check_map(const OpCall &call, const TensorView &map) {
  if ((map.dtype != DType::u8 && map.dtype != DType::i32) || map.ndim != 2)
    call.reject("the map must be u8 or i32 [H, W]");
  if (map.numel() >= INT_MAX) call.reject("the map must have fewer than 2^31 pixels");
}

// labels u8 | i32 [H, W]; attrs: connectivity (4 or 8), nothing (label left out, -1: none)
// -> components i32 [H, W], count i32 [1]
void connected_components(OpCall &call) {
  const TensorView &labels = call.in(0);
  check_map(call, labels);
  const int64_t connectivity = call.attr_int(0), nothing = call.attr_int(1);
  if (connectivity != 4 && connectivity != 8) call.reject("connectivity must be 4 or 8");
  if (call.out(0).dtype != DType::i32 || call.out(0).numel() != labels.numel() || call.out(1).numel() != 1) {
    call.reject("outputs must be i32 [H, W] and i32 [1]");
  }
  auto *out = call.out(0).as<int32_t>();
  const int64_t h = labels.dim(0), w = labels.dim(1);
  const bool eight = connectivity == 8;
  // -1 means none: an i32 map may hold it as a label like any other.
  *call.out(1).as<int32_t>() =
      labels.dtype == DType::u8
          ? label_regions(labels.as<uint8_t>(), h, w, eight, nothing, out)
          : label_regions(labels.as<int32_t>(), h, w, eight, nothing < 0 ? INT64_MIN : nothing, out);
}

// components i32 [H, W]; attr: n -> area i32 [n], bbox i32 [n, 4] (x, y, width, height), first i32 [n] (index
// of the first pixel, -1 for a number that does not occur). Numbers outside 1..n are left out.
void segment_stats(OpCall &call) {
  const TensorView &map = call.in(0);
  check_map(call, map);
  const int64_t n = call.attr_int(0), w = map.dim(1);
  if (map.dtype != DType::i32 || n < 0) call.reject("components must be i32 [H, W] and n at least 0");
  for (int k = 0; k < 3; ++k) {
    if (call.out(k).dtype != DType::i32 || call.out(k).numel() != n * (k == 1 ? 4 : 1))
      call.reject("output %d does not fit", k);
  }
  auto *area = call.out(0).as<int32_t>();
  auto *box = call.out(1).as<int32_t>();
  auto *first = call.out(2).as<int32_t>();
  std::fill(area, area + n, 0);
  std::fill(box, box + 4 * n, 0);
  std::fill(first, first + n, -1);
  const auto *id = map.as<int32_t>();
  for (int64_t i = 0; i < map.numel(); ++i) {
    if (id[i] < 1 || id[i] > n) continue;
    const int64_t k = id[i] - 1;
    const auto x = static_cast<int32_t>(i % w), y = static_cast<int32_t>(i / w);
    int32_t *b = box + 4 * k;  // x0, y0, x1, y1 until the end
    if (area[k]++ == 0) {
      first[k] = static_cast<int32_t>(i);
      b[0] = b[2] = x;
      b[1] = y;
    }
    b[0] = std::min(b[0], x);
    b[2] = std::max(b[2], x);
    b[3] = y;
  }
  for (int64_t k = 0; k < n; ++k) {
    if (area[k] == 0) continue;
    box[4 * k + 2] -= box[4 * k] - 1;
    box[4 * k + 3] -= box[4 * k + 1] - 1;
  }
}

template <class T>
void filter_pixels(const OpCall &call, const int32_t *id, const int32_t *area, int64_t n, int64_t min_area,
                   int64_t replacement) {
  const T *from = call.in(0).as<T>();
  T *to = call.out(0).as<T>();
  call.parallel(call.in(0).numel(), 1 << 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const bool small = id[i] >= 1 && id[i] <= n && area[id[i] - 1] < min_area;
      to[i] = small ? static_cast<T>(replacement) : from[i];
    }
  });
}

// labels u8 | i32 [H, W], components i32 [H, W], area i32 [n]; attrs: minArea, replacement -> labels with the
// replacement where the component is smaller
void filter_small(OpCall &call) {
  const TensorView &labels = call.in(0), &components = call.in(1), &area = call.in(2);
  check_map(call, labels);
  if (components.dtype != DType::i32 || components.numel() != labels.numel() || area.dtype != DType::i32 ||
      call.out(0).dtype != labels.dtype || call.out(0).numel() != labels.numel()) {
    call.reject("components and area must be i32 and fit the labels");
  }
  const int64_t min_area = call.attr_int(0), replacement = call.attr_int(1);
  if (labels.dtype == DType::u8) {
    filter_pixels<uint8_t>(call, components.as<int32_t>(), area.as<int32_t>(), area.numel(), min_area,
                           replacement);
  } else {
    filter_pixels<int32_t>(call, components.as<int32_t>(), area.as<int32_t>(), area.numel(), min_area,
                           replacement);
  }
}

}  // namespace

WM_REGISTER_CPU_OP(connected_components, connected_components, kContiguous)
WM_REGISTER_CPU_OP(segment_stats, segment_stats, kContiguous)
WM_REGISTER_CPU_OP(filter_small, filter_small, kContiguous)

}  // namespace wm
