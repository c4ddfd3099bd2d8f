// rle_merge, rle_area_bbox, rle_iou: set operations and measures on COCO run lengths, without decoding them.
#include <algorithm>

#include "native/host/host_args.h"

namespace wm {

namespace {

struct Counts {
  const uint32_t *data;
  size_t size;
};

uint64_t total_of(Counts c) {
  uint64_t sum = 0;
  for (size_t i = 0; i < c.size; ++i) sum += c.data[i];
  return sum;
}

uint64_t area_of(Counts c) {
  uint64_t sum = 0;
  for (size_t i = 1; i < c.size; i += 2) sum += c.data[i];
  return sum;
}

// Walks two masks of the same number of pixels; visit(length, a, b) for every stretch on which both are
// constant.
template <class F>
void walk(Counts a, Counts b, F &&visit) {
  size_t i = 0, j = 0;
  uint64_t left_a = a.size > 0 ? a.data[0] : 0, left_b = b.size > 0 ? b.data[0] : 0;
  for (;;) {
    while (left_a == 0 && i + 1 < a.size) left_a = a.data[++i];
    while (left_b == 0 && j + 1 < b.size) left_b = b.data[++j];
    if (left_a == 0 || left_b == 0) return;
    const uint64_t step = std::min(left_a, left_b);
    visit(step, (i & 1) != 0, (j & 1) != 0);
    left_a -= step;
    left_b -= step;
  }
}

std::vector<uint32_t> merge_two(Counts a, Counts b, int64_t op) {
  std::vector<uint32_t> out{0};
  bool last = false;
  walk(a, b, [&](uint64_t length, bool x, bool y) {
    const bool value = op == 0 ? x && y : op == 1 ? x || y : x != y;
    if (value != last) out.push_back(0);
    last = value;
    out.back() += static_cast<uint32_t>(length);
  });
  return out;
}

// n arrays of counts u32; attrs: op (0 and, 1 or, 2 xor, 3 not of a single mask) -> counts u32
void rle_merge(HostCall &call) {
  const int64_t op = host_int(call, 0, "operation", 0, 3);
  if (call.inputs.empty()) fail(Status::usage, "rle_merge needs at least one mask");
  if (op == 3 && call.inputs.size() != 1)
    fail(Status::usage, "not takes one mask, got %zu", call.inputs.size());
  std::vector<Counts> masks;
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    masks.push_back({host_array<uint32_t>(call, i, "counts", -1), call.inputs[i].count<uint32_t>()});
    if (total_of(masks[i]) != total_of(masks[0]))
      fail(Status::option, "mask %zu has another size than mask 0", i);
  }
  std::vector<uint32_t> result(masks[0].data, masks[0].data + masks[0].size);
  if (op == 3) {
    if (!result.empty() && result[0] == 0)
      result.erase(result.begin());
    else
      result.insert(result.begin(), 0);
  }
  for (size_t i = 1; i < masks.size(); ++i) result = merge_two({result.data(), result.size()}, masks[i], op);
  host_output(call, result);
}

struct Extent {
  uint64_t area = 0;
  int64_t x0 = 0, y0 = 0, x1 = 0, y1 = 0;  // end exclusive
};

Extent extent_of(Counts c, int64_t height) {
  Extent e;
  uint64_t at = 0;
  for (size_t i = 0; i < c.size; ++i) {
    const uint64_t end = at + c.data[i];
    if ((i & 1) != 0 && c.data[i] > 0) {
      const auto h = static_cast<uint64_t>(height);
      const auto first = static_cast<int64_t>(at / h), last = static_cast<int64_t>((end - 1) / h);
      // A run over several columns touches the first and the last row.
      const int64_t top = first == last ? static_cast<int64_t>(at % h) : 0;
      const int64_t bottom = first == last ? static_cast<int64_t>((end - 1) % h) + 1 : height;
      const bool fresh = e.area == 0;
      e.x0 = fresh ? first : std::min(e.x0, first);
      e.y0 = fresh ? top : std::min(e.y0, top);
      e.x1 = fresh ? last + 1 : std::max(e.x1, last + 1);
      e.y1 = fresh ? bottom : std::max(e.y1, bottom);
      e.area += c.data[i];
    }
    at = end;
  }
  return e;
}

// n arrays of counts u32; attrs: height -> f64 [n, 5] of area, x, y, width, height (zeros for an empty mask)
void rle_area_bbox(HostCall &call) {
  const int64_t height = host_int(call, 0, "height", 1, int64_t{1} << 31);
  auto *out = host_output<double>(call, static_cast<int64_t>(call.inputs.size()) * 5);
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    const Extent e =
        extent_of({host_array<uint32_t>(call, i, "counts", -1), call.inputs[i].count<uint32_t>()}, height);
    const double row[5] = {static_cast<double>(e.area), static_cast<double>(e.x0), static_cast<double>(e.y0),
                           static_cast<double>(e.x1 - e.x0), static_cast<double>(e.y1 - e.y0)};
    std::copy(row, row + 5, out + i * 5);
  }
}

// Masks of one size in one array: counts u32 and offsets u32 [n + 1] into it.
std::vector<Counts> mask_list(const HostCall &call, size_t index) {
  const auto *counts = host_array<uint32_t>(call, index, "counts", -1);
  const auto *offsets = host_array<uint32_t>(call, index + 1, "offsets", -1);
  const size_t size = call.inputs[index].count<uint32_t>(), n = call.inputs[index + 1].count<uint32_t>();
  std::vector<Counts> masks;
  for (size_t i = 0; i + 1 < n; ++i) {
    if (offsets[i] > offsets[i + 1] || offsets[i + 1] > size)
      fail(Status::option, "offset %zu is out of order", i);
    masks.push_back({counts + offsets[i], offsets[i + 1] - offsets[i]});
  }
  return masks;
}

// counts and offsets of n masks, counts and offsets of m masks, crowd u8 [m] -> f64 [n, m]. IoU; against a
// crowd the share of the first mask that lies inside. Two empty masks give 0.
void rle_iou(HostCall &call) {
  const std::vector<Counts> a = mask_list(call, 0), b = mask_list(call, 2);
  const auto *crowd = host_array<uint8_t>(call, 4, "crowd", static_cast<int64_t>(b.size()));
  auto *out = host_output<double>(call, static_cast<int64_t>(a.size() * b.size()));
  const uint64_t pixels = a.empty() ? 0 : total_of(a[0]);
  for (const std::vector<Counts> *list : {&a, &b}) {
    for (const Counts &c : *list) {
      if (total_of(c) != pixels && !a.empty()) fail(Status::option, "rle_iou: all masks must have one size");
    }
  }
  std::vector<uint64_t> area_b;
  for (const Counts &c : b) area_b.push_back(area_of(c));
  for (size_t i = 0; i < a.size(); ++i) {
    const uint64_t area_a = area_of(a[i]);
    for (size_t j = 0; j < b.size(); ++j) {
      uint64_t common = 0;
      walk(a[i], b[j], [&](uint64_t length, bool x, bool y) { common += x && y ? length : 0; });
      const uint64_t whole = crowd[j] != 0 ? area_a : area_a + area_b[j] - common;
      out[i * b.size() + j] = whole > 0 ? static_cast<double>(common) / static_cast<double>(whole) : 0.0;
    }
    host_check_cancelled(call);
  }
}

}  // namespace

WM_REGISTER_HOST_OP(rle_merge, rle_merge)
WM_REGISTER_HOST_OP(rle_area_bbox, rle_area_bbox)
WM_REGISTER_HOST_OP(rle_iou, rle_iou)

}  // namespace wm
