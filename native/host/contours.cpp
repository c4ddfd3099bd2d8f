// contours: the exact outline of a mask along pixel edges. polygon_mask: the reverse, even-odd at pixel
// centres.
//
// Pixel (x, y) covers [x, x+1] x [y, y+1], y down. Rings keep the mask on their right hand, so outer rings
// run clockwise as seen and holes the other way. Regions are 4-connected: where two pixels meet in a corner
// alone, the walk stays with its pixel. A walk that comes back to a corner is cut there, so no ring touches
// itself, and every outer ring belongs to one region, every hole to the outer ring of its region.
#include <algorithm>

#include "native/host/host_args.h"

namespace wm {

namespace {

struct Point {
  int32_t x, y;
};

struct Ring {
  std::vector<Point> points;
  int64_t area2 = 0;  // twice the signed area, positive for outer rings
  int32_t region = 0;
};

// The mask with a border of zeros, and its regions.
class Outline {
 public:
  Outline(MapSize size, std::vector<uint8_t> inside) : size_(size), inside_(std::move(inside)) { label(); }

  bool at(int64_t x, int64_t y) const {
    return x >= 0 && y >= 0 && x < size_.width && y < size_.height && inside_[y * size_.width + x] != 0;
  }
  int32_t region(int64_t x, int64_t y) const { return region_[y * size_.width + x]; }
  MapSize size() const { return size_; }
  // The corners of the walk that starts along the top edge of (x, y).
  std::vector<Point> walk(int64_t x, int64_t y);
  bool top_edge_left(int64_t x, int64_t y) const {
    return at(x, y) && !at(x, y - 1) && used_[y * size_.width + x] == 0;
  }

 private:
  void label();
  void flood(int64_t start, int32_t id, std::vector<int64_t> &stack);

  MapSize size_;
  std::vector<uint8_t> inside_;
  std::vector<uint8_t> used_;  // top edges walked already
  std::vector<int32_t> region_;
};

void Outline::label() {
  used_.assign(inside_.size(), 0);
  region_.assign(inside_.size(), -1);
  int32_t next = 0;
  std::vector<int64_t> stack;
  for (size_t i = 0; i < inside_.size(); ++i) {
    if (inside_[i] != 0 && region_[i] < 0) flood(static_cast<int64_t>(i), next++, stack);
  }
}

void Outline::flood(int64_t start, int32_t id, std::vector<int64_t> &stack) {
  const int64_t w = size_.width, n = size_.pixels();
  const auto push = [&](int64_t i) {
    if (inside_[i] == 0 || region_[i] >= 0) return;
    region_[i] = id;
    stack.push_back(i);
  };
  push(start);
  while (!stack.empty()) {
    const int64_t i = stack.back();
    stack.pop_back();
    if (i % w > 0) push(i - 1);
    if (i % w + 1 < w) push(i + 1);
    if (i >= w) push(i - w);
    if (i + w < n) push(i + w);
  }
}

std::vector<Point> Outline::walk(int64_t start_x, int64_t start_y) {
  // Directions right, down, left, up. From a corner, `ahead_right` is the pixel right of the edge ahead,
  // `ahead_left` the other one.
  constexpr int kDx[4] = {1, 0, -1, 0}, kDy[4] = {0, 1, 0, -1};
  constexpr int kRightX[4] = {0, -1, -1, 0}, kRightY[4] = {0, 0, -1, -1};
  constexpr int kLeftX[4] = {0, 0, -1, -1}, kLeftY[4] = {-1, 0, 0, -1};
  std::vector<Point> corners;
  int64_t x = start_x, y = start_y;
  int direction = 0;
  do {
    if (direction == 0) used_[y * size_.width + x] = 1;
    x += kDx[direction];
    y += kDy[direction];
    const int before = direction;
    if (!at(x + kRightX[direction], y + kRightY[direction]))
      direction = (direction + 1) & 3;
    else if (at(x + kLeftX[direction], y + kLeftY[direction]))
      direction = (direction + 3) & 3;
    if (direction != before) corners.push_back({static_cast<int32_t>(x), static_cast<int32_t>(y)});
  } while (x != start_x || y != start_y || direction != 0);
  return corners;
}

int64_t twice_area(const std::vector<Point> &p) {
  int64_t sum = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const Point a = p[i], b = p[(i + 1) % p.size()];
    sum += int64_t{a.x} * b.y - int64_t{b.x} * a.y;
  }
  return sum;
}

// Cuts a walk at corners it visits twice: what lies between the two visits is a ring of its own.
void cut_rings(const std::vector<Point> &corners, int64_t width, int32_t region, std::vector<int32_t> &seen,
               std::vector<Ring> &rings) {
  std::vector<Point> open;
  const auto key = [&](Point p) { return int64_t{p.y} * (width + 1) + p.x; };
  const auto close = [&](size_t from) {
    Ring ring;
    ring.points.assign(open.begin() + static_cast<int64_t>(from), open.end());
    for (const Point p : ring.points) seen[key(p)] = -1;
    open.resize(from);
    ring.area2 = twice_area(ring.points);
    ring.region = region;
    rings.push_back(std::move(ring));
  };
  for (const Point p : corners) {
    if (seen[key(p)] >= 0) close(static_cast<size_t>(seen[key(p)]));
    seen[key(p)] = static_cast<int32_t>(open.size());
    open.push_back(p);
  }
  if (!open.empty()) close(0);
}

// map of 1, 2 or 4-byte samples; attrs: height, width, bytes, label (-1: all samples but 0)
// -> points i32 [n, 2] (x, y), offsets u32 [rings + 1], parents i32 [rings] (-1: outer ring, else the ring
// around the hole)
void contours(HostCall &call) {
  const MapSize size = host_size(call, 0);
  const int64_t bytes = host_int(call, 2, "bytes", 1, 4),
                label = host_int(call, 3, "label", -1, 0xffffffffll);
  if (size.pixels() + size.width + size.height >= INT32_MAX)
    fail(Status::option, "contours: the map must have fewer than 2^31 pixels");
  std::vector<uint8_t> inside;
  with_samples(call, 0, "map", bytes, size.pixels(), [&](auto *map) {
    inside.resize(static_cast<size_t>(size.pixels()));
    for (int64_t i = 0; i < size.pixels(); ++i) {
      inside[i] = label < 0 ? map[i] != 0 : static_cast<int64_t>(map[i]) == label;
    }
  });
  Outline outline(size, std::move(inside));
  std::vector<Ring> rings;
  std::vector<int32_t> seen(static_cast<size_t>((size.height + 1) * (size.width + 1)), -1);
  for (int64_t y = 0; y < size.height; ++y) {
    for (int64_t x = 0; x < size.width; ++x) {
      if (outline.top_edge_left(x, y))
        cut_rings(outline.walk(x, y), size.width, outline.region(x, y), seen, rings);
    }
    if ((y & 63) == 0) host_check_cancelled(call);
  }
  // Outer rings in front of their holes, regions in the order of their first pixel.
  std::stable_sort(rings.begin(), rings.end(), [](const Ring &a, const Ring &b) {
    return a.region != b.region ? a.region<b.region : (a.area2 > 0)>(b.area2 > 0);
  });
  std::vector<Point> points;
  std::vector<uint32_t> offsets{0};
  std::vector<int32_t> parents;
  int32_t outer = -1;
  for (const Ring &ring : rings) {
    const bool hole = ring.area2 < 0;
    parents.push_back(hole ? outer : -1);
    if (!hole) outer = static_cast<int32_t>(parents.size()) - 1;
    points.insert(points.end(), ring.points.begin(), ring.points.end());
    offsets.push_back(static_cast<uint32_t>(points.size()));
  }
  host_output(call, points);
  host_output(call, offsets);
  host_output(call, parents);
}

// Rows a pass of polygon_mask: bounds the crossings held at a time.
constexpr int64_t kPolygonRows = 64;

struct Rings {
  const double *points;
  const uint32_t *offsets;
  size_t count;  // rings
};

// First pixel whose centre is not before `edge`, within 0..limit.
int64_t first_centre(double edge, int64_t limit) {
  return static_cast<int64_t>(std::ceil(std::min(std::max(edge - 0.5, 0.0), static_cast<double>(limit))));
}

// Where the rings' edges cross the centre lines of rows [row0, row1).
void collect_crossings(const Rings &rings, int64_t row0, int64_t row1, int64_t height,
                       std::vector<double> (&crossings)[kPolygonRows]) {
  for (size_t r = 0; r < rings.count; ++r) {
    const size_t first = rings.offsets[r], end = rings.offsets[r + 1];
    for (size_t i = first; i < end; ++i) {
      const double *a = rings.points + 2 * i, *b = rings.points + 2 * (i + 1 < end ? i + 1 : first);
      if (a[1] == b[1]) continue;
      const int64_t y0 = std::max(first_centre(std::min(a[1], b[1]), height), row0);
      const int64_t y1 = std::min(first_centre(std::max(a[1], b[1]), height), row1);
      for (int64_t y = y0; y < y1; ++y) {
        const double t = (static_cast<double>(y) + 0.5 - a[1]) / (b[1] - a[1]);
        crossings[y - row0].push_back(a[0] + t * (b[0] - a[0]));
      }
    }
  }
}

// points f64 [n, 2] (x, y), offsets u32 [rings + 1]; attrs: height, width -> u8 [H, W], 1 where the pixel's
// centre is inside by the even-odd rule over all rings
void polygon_mask(HostCall &call) {
  const MapSize size = host_size(call, 0);
  const size_t points = call.inputs.empty() ? 0 : call.inputs[0].count<double>() / 2;
  Rings rings{host_array<double>(call, 0, "points", -1), host_array<uint32_t>(call, 1, "offsets", -1), 0};
  const size_t offsets = call.inputs[1].count<uint32_t>();
  rings.count = offsets > 0 ? offsets - 1 : 0;
  for (size_t r = 0; r < rings.count; ++r) {
    if (rings.offsets[r] > rings.offsets[r + 1] || rings.offsets[r + 1] > points)
      fail(Status::option, "offset %zu is out of order", r);
  }
  for (size_t i = 0; i < 2 * points; ++i) {
    if (!std::isfinite(rings.points[i])) fail(Status::usage, "point %zu is not finite", i / 2);
  }
  auto *out = host_output<uint8_t>(call, size.pixels());
  std::vector<double> crossings[kPolygonRows];
  for (int64_t row0 = 0; row0 < size.height && size.width > 0; row0 += kPolygonRows) {
    const int64_t row1 = std::min(row0 + kPolygonRows, size.height);
    collect_crossings(rings, row0, row1, size.height, crossings);
    for (int64_t y = row0; y < row1; ++y) {
      std::vector<double> &row = crossings[y - row0];
      std::sort(row.begin(), row.end());
      for (size_t k = 0; k + 1 < row.size(); k += 2) {
        const int64_t x0 = first_centre(row[k], size.width), x1 = first_centre(row[k + 1], size.width);
        for (int64_t x = x0; x < x1; ++x) out[y * size.width + x] = 1;
      }
      row.clear();
    }
    host_check_cancelled(call);
  }
}

}  // namespace

WM_REGISTER_HOST_OP(contours, contours)
WM_REGISTER_HOST_OP(polygon_mask, polygon_mask)

}  // namespace wm
