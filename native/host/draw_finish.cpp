// Style, light, blur and grain of a drawing, and its reduction: a picture of 64 pixels is the area average of the one
// of 96.
#include "native/host/draw_finish.h"

#include <algorithm>
#include <numeric>

#include "native/host/draw_paint.h"

namespace wm {

namespace {

// Lightness of stuff turned round, hue kept; ink where two parts meet.
void redraw_on_paper(SceneCanvas &canvas) {
  const int w = canvas.width, h = canvas.height;
  for (int y = 0; y < h; ++y) {
    for (int x = 0; x < w; ++x) {
      const size_t i = static_cast<size_t>(y) * w + x;
      float &r = canvas.plane[0][i], &g = canvas.plane[1][i], &b = canvas.plane[2][i];
      if (canvas.object[i] == 0) {
        const float turn = 255.0f - std::max(std::max(r, g), b) - std::min(std::min(r, g), b);
        r += turn;
        g += turn;
        b += turn;
      }
      const bool edge = (x + 1 < w && canvas.part[i] != canvas.part[i + 1]) ||
                        (y + 1 < h && canvas.part[i] != canvas.part[i + w]);
      if (edge) r *= 0.2f, g *= 0.2f, b *= 0.25f;
      const float fibre = 9.0f * lattice_value(x / 3, y, 77u) + 7.0f * lattice_value(x, y / 3, 78u);
      r = r * 0.9f + 22.0f + fibre;
      g = g * 0.9f + 20.0f + fibre;
      b = b * 0.9f + 12.0f + fibre;
    }
  }
}

// Weighted mean of each value and its two neighbours, `step` apart; the border repeats.
void blur_line(float *line, int n, int step, float weight) {
  float before = line[0];
  for (int i = 0; i < n; ++i) {
    const float here = line[static_cast<size_t>(i) * step];
    const float after = i + 1 < n ? line[static_cast<size_t>(i + 1) * step] : here;
    line[static_cast<size_t>(i) * step] = here + weight * (before + after - 2.0f * here);
    before = here;
  }
}

void blur_columns(float *plane, int w, int h, float weight, float *before) {
  std::copy(plane, plane + w, before);
  for (int y = 0; y < h; ++y) {
    float *row = plane + static_cast<size_t>(y) * w;
    const float *next = y + 1 < h ? row + w : row;
    for (int x = 0; x < w; ++x) {
      const float here = row[x];
      row[x] = here + weight * (before[x] + next[x] - 2.0f * here);
      before[x] = here;
    }
  }
}

// Grain of every pixel: a triangular distribution for all channels and a smaller tint, out of one hash.
void quantise_row(SceneCanvas &canvas, const Finish &f, int y, uint8_t *rgb) {
  const int w = canvas.width;
  const size_t begin = static_cast<size_t>(y) * w;
  const uint32_t first = static_cast<uint32_t>(begin) + f.seed * 0x9E3779B1u;
  float *grain = canvas.row[0].data(), *tint = canvas.row[1].data();
  for (int i = 0; i < w; ++i) {
    uint32_t x = (first + static_cast<uint32_t>(i)) * 0x85EBCA6Bu;
    x = (x ^ (x >> 15)) * 0x2C1B3C6Du;
    x = (x ^ (x >> 13)) * 0x297A2D39u;
    x ^= x >> 16;
    grain[i] = static_cast<float>(static_cast<int>(x & 1023u) + static_cast<int>(x >> 10 & 1023u) - 1023) *
               (f.grain / 418.0f);
    tint[i] = static_cast<float>(static_cast<int>(x >> 20 & 1023u) - 511) * (f.grain / 1023.0f);
  }
  const float sign[3] = {1.0f, 0.0f, -1.0f};
  for (int c = 0; c < 3; ++c) {
    float *plane = canvas.plane[c].data() + begin;
    for (int i = 0; i < w; ++i) {
      const float value = plane[i] + (grain[i] + sign[c] * tint[i]) + 0.5f;
      plane[i] = std::min(std::max(value, 0.0f), 255.0f);
    }
    for (int i = 0; i < w; ++i) rgb[3 * i + c] = static_cast<uint8_t>(static_cast<int>(plane[i]));
  }
}

// Overlaps of output pixels with input pixels along one axis; the weights of each sum to from / gcd(from, to).
struct Overlap {
  int first, count;
  std::vector<int64_t> weight;
};

std::vector<Overlap> overlaps(int from, int to) {
  std::vector<Overlap> out(static_cast<size_t>(to));
  const int unit = std::gcd(from, to);
  for (int o = 0; o < to; ++o) {
    const int64_t begin = int64_t{o} * from, end = begin + from;
    const int first = static_cast<int>(begin / to), last = static_cast<int>((end - 1) / to);
    out[o] = {first, last - first + 1, {}};
    for (int i = first; i <= last; ++i) {
      const int64_t a = std::max(begin, int64_t{i} * to), b = std::min(end, (int64_t{i} + 1) * to);
      out[o].weight.push_back((b - a) / unit);
    }
  }
  return out;
}

template <class T>
void average(const uint8_t *in, int width, uint8_t *out, const std::vector<Overlap> &across,
             const std::vector<Overlap> &down, T total) {
  for (const Overlap &row : down) {
    for (const Overlap &column : across) {
      T sum[3] = {total / 2, total / 2, total / 2};
      for (int j = 0; j < row.count; ++j) {
        const uint8_t *p = in + (int64_t{row.first + j} * width + column.first) * 3;
        for (int i = 0; i < column.count; ++i, p += 3) {
          const T weight = static_cast<T>(row.weight[j] * column.weight[i]);
          for (int c = 0; c < 3; ++c) sum[c] += weight * p[c];
        }
      }
      for (int c = 0; c < 3; ++c) *out++ = static_cast<uint8_t>(sum[c] / total);
    }
  }
}

bool even(const uint8_t *in, int width, const Overlap &row, const Overlap &column) {
  const uint8_t first = in[row.first * width + column.first];
  for (int j = 0; j < row.count; ++j) {
    for (int i = 0; i < column.count; ++i) {
      if (in[(row.first + j) * width + column.first + i] != first) return false;
    }
  }
  return true;
}

}  // namespace

void finish_scene(SceneCanvas &canvas, const Finish &f, uint8_t *rgb) {
  const int w = canvas.width, h = canvas.height;
  const size_t n = static_cast<size_t>(w) * h;
  if (f.paper) redraw_on_paper(canvas);
  for (int c = 0; c < 3; ++c) {
    float *plane = canvas.plane[c].data();
    if (f.blur > 0.0f) {
      for (int y = 0; y < h; ++y) blur_line(plane + static_cast<size_t>(y) * w, w, 1, f.blur);
      blur_columns(plane, w, h, f.blur, canvas.row[0].data());
    }
    for (size_t i = 0; i < n; ++i) plane[i] *= f.gain[c];
  }
  for (int y = 0; y < h; ++y) quantise_row(canvas, f, y, rgb + static_cast<size_t>(y) * w * 3);
}

void reduce_rgb(const uint8_t *in, SizePair from, uint8_t *out, SizePair to) {
  const std::vector<Overlap> across = overlaps(from.width, to.width), down = overlaps(from.height, to.height);
  const int64_t total = int64_t{from.width / std::gcd(from.width, to.width)} *
                        (from.height / std::gcd(from.height, to.height));
  // Small totals, the common case, take 32-bit arithmetic.
  if (total < (1 << 23)) average<uint32_t>(in, from.width, out, across, down, static_cast<uint32_t>(total));
  else average<uint64_t>(in, from.width, out, across, down, static_cast<uint64_t>(total));
}

void reduce_labels(const uint8_t *in, SizePair from, int32_t *index, SizePair to) {
  const std::vector<Overlap> across = overlaps(from.width, to.width), down = overlaps(from.height, to.height);
  int64_t weight[256] = {};
  for (const Overlap &row : down) {
    for (const Overlap &column : across) {
      int32_t best = row.first * from.width + column.first;
      const int passes = even(in, from.width, row, column) ? 0 : 3;
      for (int pass = 0; pass < passes; ++pass) {
        for (int j = 0; j < row.count; ++j) {
          for (int i = 0; i < column.count; ++i) {
            const int32_t at = (row.first + j) * from.width + column.first + i;
            if (pass == 0) weight[in[at]] = 0;
            else if (pass == 1) weight[in[at]] += row.weight[j] * column.weight[i];
            else if (weight[in[at]] > weight[in[best]]) best = at;
          }
        }
      }
      *index++ = best;
    }
  }
}

}  // namespace wm
