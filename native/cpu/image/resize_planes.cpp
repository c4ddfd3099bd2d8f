// Interpolation of floating planes in two passes, rows first: torch bilinear (align_corners both ways), torch
// bicubic (a = -0.75, no antialias) and OpenCV's float linear, y = Wy (x Wx^T); and the gradient dx = Wy^T dy
// Wx. Arithmetic is f32 (f64 for f64) in the order of the origin: columns of a row, then rows.
#include <type_traits>

#include "native/cpu/image/resize_taps.h"

namespace wm {

namespace {

template <class T>
using Acc = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <class T, class A>
T narrow(A x) {
  if constexpr (std::is_same_v<T, A>) {
    return x;
  } else {
    return from_float<T>(x);
  }
}

template <class T, class A>
void row_pass(const T *src, const AxisTaps<A> &taps, int64_t width, A *dst) {
  const int32_t *index = taps.index.data();
  const A *weight = taps.weight.data();
  const auto at = [src](int32_t i) { return static_cast<A>(to_float(src[i])); };
  if (taps.count == 2) {
    for (int64_t i = 0; i < width; ++i) {
      dst[i] = weight[2 * i] * at(index[2 * i]) + weight[2 * i + 1] * at(index[2 * i + 1]);
    }
    return;
  }
  for (int64_t i = 0; i < width; ++i) {
    const int32_t *k = index + 4 * i;
    const A *w = weight + 4 * i;
    dst[i] = w[0] * at(k[0]) + w[1] * at(k[1]) + w[2] * at(k[2]) + w[3] * at(k[3]);
  }
}

// Output row = weighted sum of `count` finished rows.
template <class T, class A>
void column_pass(const A *const *rows, const A *weight, int count, int64_t width, T *dst) {
  if (count == 2) {
    const A *a = rows[0], *b = rows[1];
    const A wa = weight[0], wb = weight[1];
    for (int64_t i = 0; i < width; ++i) dst[i] = narrow<T>(wa * a[i] + wb * b[i]);
    return;
  }
  const A *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3];
  for (int64_t i = 0; i < width; ++i) {
    dst[i] = narrow<T>(weight[0] * a[i] + weight[1] * b[i] + weight[2] * c[i] + weight[3] * d[i]);
  }
}

// Rows after the first pass, kept in a ring keyed by source row: neighbours in y need the same ones.
template <class T, class A>
class RowRing {
 public:
  RowRing(const AxisTaps<A> &taps, int64_t width)
      : taps_(taps), width_(width), rows_(static_cast<size_t>(kSlots * width)) {
    std::fill(owner_, owner_ + kSlots, -1);
  }

  const A *row(const T *plane, int64_t in_width, int32_t y) {
    const int slot = y % kSlots;
    A *data = rows_.data() + slot * width_;
    if (owner_[slot] != y) {
      row_pass(plane + y * in_width, taps_, width_, data);
      owner_[slot] = y;
    }
    return data;
  }
  void next_plane() { std::fill(owner_, owner_ + kSlots, -1); }

 private:
  static constexpr int kSlots = 4;  // bicubic reads four consecutive rows
  const AxisTaps<A> &taps_;
  int64_t width_;
  std::vector<A> rows_;
  int32_t owner_[kSlots];
};

template <class T>
void forward(const OpCall &call, const ResizeSpec &spec) {
  using A = Acc<T>;
  const AxisTaps<A> xs = make_taps<A>(spec.x, spec.mode, spec.align_corners);
  const AxisTaps<A> ys = make_taps<A>(spec.y, spec.mode, spec.align_corners);
  const T *src = call.in(0).as<T>();
  T *dst = call.out(0).as<T>();
  const int64_t planes = call.in(0).numel() / (spec.x.in * spec.y.in);
  call.parallel(planes * spec.y.out, resize_row_grain(spec.x.out), [&](int64_t begin, int64_t end) {
    RowRing<T, A> ring(xs, spec.x.out);
    int64_t current = begin / spec.y.out;
    for (int64_t r = begin; r < end; ++r) {
      const int64_t plane = r / spec.y.out, y = r % spec.y.out;
      if (plane != current) ring.next_plane();
      current = plane;
      const A *rows[4] = {};
      for (int k = 0; k < ys.count; ++k) {
        rows[k] = ring.row(src + plane * spec.x.in * spec.y.in, spec.x.in, ys.index[y * ys.count + k]);
      }
      column_pass(rows, ys.weight.data() + y * ys.count, ys.count, spec.x.out, dst + r * spec.x.out);
    }
  });
}

template <class T>
void plane_bwd(const T *dy, const AxisTaps<Acc<T>> &xs, const AxisTaps<Acc<T>> &ys, const ResizeSpec &spec,
               std::vector<Acc<T>> &columns, std::vector<Acc<T>> &row, T *dx) {
  using A = Acc<T>;
  std::fill(columns.begin(), columns.end(), A{0});  // [inH, outW] = Wy^T dy
  for (int64_t y = 0; y < spec.y.out; ++y) {
    const T *from = dy + y * spec.x.out;
    for (int k = 0; k < ys.count; ++k) {
      A *to = columns.data() + ys.index[y * ys.count + k] * spec.x.out;
      const A w = ys.weight[y * ys.count + k];
      for (int64_t i = 0; i < spec.x.out; ++i) to[i] += w * static_cast<A>(to_float(from[i]));
    }
  }
  for (int64_t y = 0; y < spec.y.in; ++y) {
    const A *from = columns.data() + y * spec.x.out;
    std::fill(row.begin(), row.end(), A{0});
    for (int64_t i = 0; i < spec.x.out; ++i) {
      for (int k = 0; k < xs.count; ++k)
        row[xs.index[i * xs.count + k]] += xs.weight[i * xs.count + k] * from[i];
    }
    for (int64_t i = 0; i < spec.x.in; ++i) dx[y * spec.x.in + i] = narrow<T>(row[i]);
  }
}

template <class T>
void backward(const OpCall &call, const ResizeSpec &spec) {
  using A = Acc<T>;
  const AxisTaps<A> xs = make_taps<A>(spec.x, spec.mode, spec.align_corners);
  const AxisTaps<A> ys = make_taps<A>(spec.y, spec.mode, spec.align_corners);
  const T *dy = call.in(0).as<T>();
  T *dx = call.out(0).as<T>();
  const int64_t in_plane = spec.x.in * spec.y.in, out_plane = spec.x.out * spec.y.out;
  const int64_t planes = call.out(0).numel() / in_plane;
  call.parallel(planes, resize_row_grain(std::max(in_plane, out_plane)), [&](int64_t begin, int64_t end) {
    std::vector<A> columns(static_cast<size_t>(spec.y.in * spec.x.out)), row(static_cast<size_t>(spec.x.in));
    for (int64_t p = begin; p < end; ++p) {
      plane_bwd<T>(dy + p * out_plane, xs, ys, spec, columns, row, dx + p * in_plane);
    }
  });
}

}  // namespace

void resize_planes(OpCall &call, const ResizeSpec &spec) {
  dispatch_float(call, call.in(0).dtype, [&](auto zero) { forward<decltype(zero)>(call, spec); });
}

void resize_planes_bwd(OpCall &call, const ResizeSpec &spec) {
  dispatch_float(call, call.in(0).dtype, [&](auto zero) { backward<decltype(zero)>(call, spec); });
}

}  // namespace wm
