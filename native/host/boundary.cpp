// boundary_counts: what Boundary IoU and Boundary F need of one picture, all classes at once (evaluation.md
// section 7). Pixels with the ignore label belong to no mask.
#include <algorithm>

#include "native/host/host_args.h"

namespace wm {

namespace {

using Classes = std::vector<int32_t>;  // class of every pixel, -1 for none
using Flags = std::vector<uint8_t>;

// Marks pixels from which `reach` pixels on both sides along a line have the same class and are marked in
// `given`.
void keep_inner(const int32_t *classes, const uint8_t *given, uint8_t *out, int64_t n, int64_t step,
                int64_t reach, std::vector<int64_t> &before) {
  int64_t run = 0;
  for (int64_t i = 0; i < n; ++i) {
    const bool same = i > 0 && classes[i * step] == classes[(i - 1) * step];
    run = given[i * step] != 0 ? (same ? run + 1 : 1) : 0;
    before[i] = run;
  }
  run = 0;
  for (int64_t i = n - 1; i >= 0; --i) {
    const bool same = i + 1 < n && classes[i * step] == classes[(i + 1) * step];
    run = given[i * step] != 0 ? (same ? run + 1 : 1) : 0;
    out[i * step] = before[i] > reach && run > reach;
  }
}

// Mask minus its erosion by a 3x3 square `band` times, everything outside the picture counting as empty: the
// square of 2 band + 1 around a pixel holds another class or leaves the picture.
Flags band_of(const Classes &classes, MapSize size, int64_t band) {
  Flags flags(classes.size());
  for (size_t i = 0; i < flags.size(); ++i) flags[i] = classes[i] >= 0;
  const Flags mask = flags;
  std::vector<int64_t> before(static_cast<size_t>(std::max(size.height, size.width)));
  for (int64_t y = 0; y < size.height; ++y) {
    const int64_t row = y * size.width;
    keep_inner(classes.data() + row, mask.data() + row, flags.data() + row, size.width, 1, band, before);
  }
  Flags core(flags.size());
  for (int64_t x = 0; x < size.width; ++x) {
    keep_inner(classes.data() + x, flags.data() + x, core.data() + x, size.height, size.width, band, before);
  }
  for (size_t i = 0; i < flags.size(); ++i) flags[i] = mask[i] != 0 && core[i] == 0;
  return flags;
}

// Pixels with a 4-neighbour of another class; outside the picture does not count.
Flags edge_of(const Classes &classes, MapSize size) {
  Flags flags(classes.size());
  const int64_t w = size.width;
  for (int64_t y = 0; y < size.height; ++y) {
    for (int64_t x = 0; x < w; ++x) {
      const int64_t i = y * w + x;
      const int32_t c = classes[i];
      flags[i] = c >= 0 && ((x > 0 && classes[i - 1] != c) || (x + 1 < w && classes[i + 1] != c) ||
                            (y > 0 && classes[i - w] != c) || (y + 1 < size.height && classes[i + w] != c));
    }
  }
  return flags;
}

struct Offset {
  int64_t dy, dx;
};

// All steps within the radius, nearest first: most edge pixels have a partner close by.
std::vector<Offset> disc(int64_t radius) {
  std::vector<Offset> offsets;
  for (int64_t dy = -radius; dy <= radius; ++dy) {
    for (int64_t dx = -radius; dx <= radius; ++dx) {
      if (dy * dy + dx * dx <= radius * radius) offsets.push_back({dy, dx});
    }
  }
  std::stable_sort(offsets.begin(), offsets.end(),
                   [](Offset a, Offset b) { return a.dy * a.dy + a.dx * a.dx < b.dy * b.dy + b.dx * b.dx; });
  return offsets;
}

constexpr int64_t kColumns = 6;

// Edge pixels of `from` by class, and those with an edge pixel of that class in `to` within the disc.
void count_matches(const HostCall &call, const Classes &from, const Flags &from_edge, const Classes &to,
                   const Flags &to_edge, MapSize size, const std::vector<Offset> &offsets, double *out) {
  for (int64_t y = 0; y < size.height; ++y) {
    for (int64_t x = 0; x < size.width; ++x) {
      const int64_t i = y * size.width + x;
      if (from_edge[i] == 0) continue;
      double *row = out + from[i] * kColumns;
      row[0] += 1;
      for (const Offset &o : offsets) {
        const int64_t ny = y + o.dy, nx = x + o.dx;
        if (ny < 0 || nx < 0 || ny >= size.height || nx >= size.width) continue;
        const int64_t k = ny * size.width + nx;
        if (to_edge[k] == 0 || to[k] != from[i]) continue;
        row[1] += 1;
        break;
      }
    }
    host_check_cancelled(call);
  }
}

template <class T>
Classes classes_of(const T *samples, int64_t n, int64_t classes) {
  Classes out(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    const auto v = static_cast<int64_t>(samples[i]);
    out[i] = v < classes ? static_cast<int32_t>(v) : -1;
  }
  return out;
}

// pred, label maps; attrs: height, width, bytes of pred, bytes of label, classes, ignore (-1: none), band,
// radius
// -> f64 [C, 6]: band intersection, band union, edge pixels of the prediction, those near a true one, edge
// pixels of the truth, those near a predicted one
void boundary_counts(HostCall &call) {
  const MapSize size = host_size(call, 0);
  const int64_t n = size.pixels();
  const int64_t classes = host_int(call, 4, "classes", 1, 65536),
                ignore = host_int(call, 5, "ignore", -1, 0xffffffffll);
  const int64_t band = host_int(call, 6, "band", 1, 1 << 20),
                radius = host_int(call, 7, "radius", 0, 1 << 10);
  Classes pred, label;
  with_samples(call, 0, "predictions", host_int(call, 2, "bytes of a prediction", 1, 4), n,
               [&](auto *p) { pred = classes_of(p, n, classes); });
  with_samples(call, 1, "labels", host_int(call, 3, "bytes of a label", 1, 4), n, [&](auto *l) {
    label = classes_of(l, n, classes);
    for (int64_t i = 0; i < n; ++i) {
      if (static_cast<int64_t>(l[i]) == ignore) pred[i] = label[i] = -1;
    }
  });
  auto *out = host_output<double>(call, classes * kColumns);
  const Flags pred_band = band_of(pred, size, band), label_band = band_of(label, size, band);
  for (int64_t i = 0; i < n; ++i) {
    const bool common = pred_band[i] != 0 && label_band[i] != 0 && pred[i] == label[i];
    if (pred_band[i] != 0) out[pred[i] * kColumns + 1] += 1;
    if (label_band[i] != 0 && !common) out[label[i] * kColumns + 1] += 1;
    if (common) out[label[i] * kColumns] += 1;
  }
  const Flags pred_edge = edge_of(pred, size), label_edge = edge_of(label, size);
  const std::vector<Offset> offsets = disc(radius);
  count_matches(call, pred, pred_edge, label, label_edge, size, offsets, out + 2);
  count_matches(call, label, label_edge, pred, pred_edge, size, offsets, out + 4);
}

}  // namespace

WM_REGISTER_HOST_OP(boundary_counts, boundary_counts)

}  // namespace wm
