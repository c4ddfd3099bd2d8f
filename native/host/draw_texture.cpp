// Ten texture families, each told from the others by structure as well as colour: gradients, waves, speckle, blades,
// lane marks, drifts, bricks, boards, rock faces, ears. Rows of value noise carry most of it.
#include <algorithm>
#include <cmath>

#include "native/host/draw_paint.h"

namespace wm {

namespace {

struct Work {
  const Texture &t;
  const TextureRow &row;
  float *const *noise;
  float *const *out;
  // Distance into the region, and what perspective makes of it: rows far away are narrower.
  float depth, rows;

  float u(int i) const { return row.u + row.du * static_cast<float>(i); }
  void set(int i, const Rgb &colour, float gain) const {
    for (int c = 0; c < 3; ++c) out[c][i] = std::min(colour.c[c] * gain, 255.0f);
  }
  void mix(int i, const Rgb &from, const Rgb &to, float share, float gain = 1.0f) const {
    for (int c = 0; c < 3; ++c) {
      out[c][i] = std::min((from.c[c] + (to.c[c] - from.c[c]) * share) * gain, 255.0f);
    }
  }
};

float clamp01(float x) { return std::min(std::max(x, 0.0f), 1.0f); }
float fraction(float x) { return x - static_cast<float>(floor_int(x)); }
// Sine of x turns, by two parabolas and one correction.
float wave(float x) {
  const float t = 2.0f * fraction(x) - 1.0f;
  const float s = -4.0f * t * (1.0f - std::fabs(t));
  return s * (0.775f + 0.225f * std::fabs(s));
}
// Zigzag between 0 and 1.
float zigzag(float x) { return std::fabs(2.0f * fraction(x) - 1.0f); }

// Things a unit of width, by the row they stand in: far ones are smaller.
float density_at(float rows) { return 1.45f - 0.7f * clamp01(rows); }

float lattice_column(int x, int y, float fy, uint32_t seed) {
  const float a = lattice_value(x, y, seed), b = lattice_value(x, y + 1, seed);
  return a + (b - a) * fy;
}

// Smooth noise of one row, -1..1, lattice steps of 1.
void noise_row(float *out, int n, float x, float dx, float y, uint32_t seed) {
  const int iy = floor_int(y);
  float fy = y - static_cast<float>(iy);
  fy = fy * fy * (3.0f - 2.0f * fy);
  int cell = 0;
  float left = 0.0f, right = 0.0f;
  bool known = false;
  for (int i = 0; i < n; ++i) {
    const float at = x + dx * static_cast<float>(i);
    const int ix = floor_int(at);
    if (!known || ix != cell) {
      const float old = right;
      left = known && ix == cell + 1 ? old : lattice_column(ix, iy, fy, seed);
      right = lattice_column(ix + 1, iy, fy, seed);
      cell = ix;
      known = true;
    }
    const float f = at - static_cast<float>(ix);
    out[i] = left + (right - left) * (f * f * (3.0f - 2.0f * f));
  }
}

void noise(const Work &w, int slot, float fu, float y) {
  noise_row(w.noise[slot], w.row.n, w.row.u * fu, w.row.du * fu, y, w.t.seed + 977u * static_cast<uint32_t>(slot));
}

// a at the zenith, c at the horizon, thin bands of haze; p is the share of night: points of light.
void sky(const Work &w) {
  const float t = clamp01((w.row.v - w.t.top) / std::max(w.t.bottom - w.t.top, 0.1f));
  noise(w, 0, 1.7f, w.row.v * 8.0f);
  for (int i = 0; i < w.row.n; ++i) {
    const float haze = std::max(w.noise[0][i], 0.0f);
    w.mix(i, w.t.a, w.t.c, clamp01(t * t * 0.8f + 0.3f * haze * haze));
  }
  if (w.t.p <= 0.0f) return;
  const int cy = floor_int(w.row.v * 22.0f);
  for (int i = 0; i < w.row.n; ++i) {
    const float x = w.u(i) * 22.0f;
    if (lattice_value(floor_int(x), cy, w.t.seed) < 0.8f) continue;
    const float dx = fraction(x) - 0.5f, dy = fraction(w.row.v * 22.0f) - 0.5f;
    const float spot = clamp01(1.0f - 9.0f * (dx * dx + dy * dy)) * w.t.p;
    for (int c = 0; c < 3; ++c) w.out[c][i] += (255.0f - w.out[c][i]) * spot;
  }
}

void sea(const Work &w) {
  noise(w, 0, 4.0f, w.rows * 5.0f);
  noise(w, 1, 7.0f, w.rows * 16.0f);
  for (int i = 0; i < w.row.n; ++i) {
    const float crest = wave(w.rows * 13.0f + 0.75f * w.noise[0][i]);
    const float broken = crest + 0.7f * w.noise[1][i];
    w.mix(i, w.t.b, w.t.a, clamp01(0.55f + 0.5f * crest));
    const float foam = clamp01((broken - 0.85f) * 2.5f);
    for (int c = 0; c < 3; ++c) w.out[c][i] += (w.t.c.c[c] - w.out[c][i]) * foam;
  }
}

void sand(const Work &w) {
  noise(w, 0, 2.5f, w.rows * 4.0f);
  noise(w, 1, 75.0f, w.row.v * 75.0f);
  for (int i = 0; i < w.row.n; ++i) {
    const float ripple = wave(w.rows * 7.0f + 1.1f * w.noise[0][i]);
    const float speck = w.noise[1][i];
    w.mix(i, w.t.a, w.t.c, clamp01(0.4f + 0.3f * ripple), 1.0f + 0.07f * speck);
    if (speck < -0.45f) w.mix(i, w.t.a, w.t.b, clamp01((-0.45f - speck) * 4.0f));
  }
}

// Upright blades in tufts.
void grass(const Work &w) {
  noise(w, 0, 44.0f, w.rows * 9.0f);
  noise(w, 1, 5.0f, w.rows * 6.0f);
  for (int i = 0; i < w.row.n; ++i) {
    const float blade = w.noise[0][i];
    w.mix(i, w.t.b, w.t.c, clamp01(0.45f + 0.75f * blade + 0.22f * w.noise[1][i]));
  }
}

// Grey with coarse grain, a kerb at the far side, dashes along the middle.
void road(const Work &w) {
  noise(w, 0, 60.0f, w.row.v * 60.0f);
  const float height = std::max(w.t.bottom - w.t.top, 0.1f), t = w.depth / height;
  const float half = 0.035f / height + 0.012f;
  const float line = clamp01((half - std::fabs(t - 0.45f)) / half * 3.0f);
  const float kerb = clamp01((0.09f - std::fabs(t - 0.1f)) * 30.0f);
  for (int i = 0; i < w.row.n; ++i) {
    w.mix(i, w.t.a, w.t.b, clamp01(0.5f + 0.6f * w.noise[0][i]));
    const float dash = clamp01((zigzag(w.u(i) * 2.6f + w.t.p) - 0.42f) * 12.0f) * line;
    const float light = std::max(dash, 0.45f * kerb);
    for (int c = 0; c < 3; ++c) w.out[c][i] += (w.t.c.c[c] - w.out[c][i]) * light;
  }
}

// White with soft blue drifts and sparse glints.
void snow(const Work &w) {
  noise(w, 0, 2.6f, w.rows * 6.0f);
  noise(w, 1, 50.0f, w.row.v * 50.0f);
  for (int i = 0; i < w.row.n; ++i) {
    const float drift = clamp01(0.5f + 1.3f * w.noise[0][i]);
    w.mix(i, w.t.a, w.t.b, 0.85f * drift * drift);
    const float glint = clamp01((w.noise[1][i] - 0.6f) * 4.0f);
    for (int c = 0; c < 3; ++c) w.out[c][i] += (255.0f - w.out[c][i]) * glint;
  }
}

// Courses of bricks, half a brick apart, mortar between; p is the height of a course.
void brick(const Work &w) {
  const float course = w.row.v / w.t.p;
  const int cy = floor_int(course);
  const float soft = w.t.p / w.row.du, edge_y = 0.5f - std::fabs(course - static_cast<float>(cy) - 0.5f);
  noise(w, 0, 40.0f, w.row.v * 40.0f);
  for (int i = 0; i < w.row.n; ++i) {
    const float x = w.u(i) / (2.1f * w.t.p) + ((cy & 1) != 0 ? 0.5f : 0.0f);
    const int cx = floor_int(x);
    const float edge_x = 2.1f * (0.5f - std::fabs(x - static_cast<float>(cx) - 0.5f));
    const float inside = clamp01((std::min(edge_x, edge_y) - 0.1f) * soft + 0.5f);
    const float tone = 0.5f + 0.5f * lattice_value(cx, cy, w.t.seed);
    w.mix(i, w.t.a, w.t.b, tone, 1.0f + 0.06f * w.noise[0][i]);
    for (int c = 0; c < 3; ++c) w.out[c][i] += (w.t.c.c[c] - w.out[c][i]) * (1.0f - inside);
  }
}

// Long boards with grain, dark joints, ends staggered; boards near the viewer are wider.
void boards(const Work &w) {
  const float at = w.rows * 8.0f;
  const int board = floor_int(at);
  const float density = density_at(static_cast<float>(board) / 8.0f), per_pixel = w.row.du * 8.0f * density;
  const float seam = clamp01((0.5f - std::fabs(at - static_cast<float>(board) - 0.5f)) / per_pixel);
  const float start = lattice_value(board, 3, w.t.seed);
  noise(w, 0, 4.0f, w.rows * 45.0f);
  for (int i = 0; i < w.row.n; ++i) {
    const float x = (w.u(i) - 0.7f) * density * 1.1f + start;
    const int plank = floor_int(x);
    const float end = clamp01((0.5f - std::fabs(x - static_cast<float>(plank) - 0.5f)) / (1.1f * w.row.du));
    const float tone = 0.5f + 0.5f * lattice_value(board, plank + 31, w.t.seed);
    w.mix(i, w.t.a, w.t.c, clamp01(tone + 0.45f * w.noise[0][i]));
    const float dark = 1.0f - std::min(seam, end);
    for (int c = 0; c < 3; ++c) w.out[c][i] += (w.t.b.c[c] - w.out[c][i]) * dark * 0.85f;
  }
}

// Rock faces: slopes of light and shade along zigzag ridges, snow on the high tops.
void rock(const Work &w) {
  noise(w, 0, 5.0f, w.row.v * 5.0f);
  noise(w, 1, 17.0f, w.row.v * 17.0f);
  for (int i = 0; i < w.row.n; ++i) {
    const float bend = 0.25f * w.noise[0][i];
    const float side = zigzag(w.u(i) * 2.1f + w.depth * 1.3f + bend + w.t.p);
    const float cut = zigzag(w.u(i) * 5.3f - w.depth * 2.6f + bend);
    w.mix(i, w.t.b, w.t.a, clamp01((side - 0.5f) * 5.0f + 0.5f), 0.86f + 0.24f * cut + 0.07f * w.noise[1][i]);
    const float cap = clamp01((0.075f + 0.05f * w.noise[1][i] + 0.04f * cut - w.depth) * 40.0f);
    for (int c = 0; c < 3; ++c) w.out[c][i] += (w.t.c.c[c] - w.out[c][i]) * cap;
  }
}

// Stalks in rows with plump ears: a lattice of leaning light grains over dark gaps.
void wheat(const Work &w) {
  const float fy = w.rows * 9.0f;
  const int cy = floor_int(fy);
  const float dy = fy - static_cast<float>(cy) - 0.5f, density = density_at(static_cast<float>(cy) / 9.0f);
  noise(w, 0, 6.0f, w.rows * 5.0f);
  for (int i = 0; i < w.row.n; ++i) {
    const float x = (w.u(i) - 0.7f) * 17.0f * density + 0.5f * static_cast<float>(cy & 1) + 0.35f * dy +
                    0.4f * w.noise[0][i];
    const float dx = fraction(x) - 0.5f;
    const float ear = clamp01(1.25f - 9.0f * dx * dx - 2.6f * dy * dy);
    const float stalk = clamp01(0.55f - 6.0f * std::fabs(dx)) * (dy > 0.0f ? 1.0f : 0.0f);
    w.mix(i, w.t.b, w.t.a, clamp01(std::max(ear, stalk) * 1.15f));
    const float shine = clamp01((ear - 0.8f) * 4.0f);
    for (int c = 0; c < 3; ++c) w.out[c][i] += (w.t.c.c[c] - w.out[c][i]) * shine * 0.8f;
  }
}

using Shader = void (*)(const Work &);
constexpr Shader kShaders[10] = {sky, sea, sand, grass, road, snow, brick, boards, rock, wheat};

}  // namespace

float lattice_value(int x, int y, uint32_t seed) {
  uint32_t h = static_cast<uint32_t>(x) * 0x9E3779B1u ^ static_cast<uint32_t>(y) * 0x85EBCA77u ^ seed * 0xC2B2AE3Du;
  h = (h ^ (h >> 15)) * 0x2C1B3C6Du;
  h = (h ^ (h >> 12)) * 0x297A2D39u;
  h ^= h >> 15;
  return static_cast<float>(static_cast<int32_t>(h >> 8) - (1 << 23)) * (1.0f / (1 << 23));
}

void texture_row(const Texture &t, const TextureRow &row, float *const scratch[4], float *const out[3]) {
  const float depth = std::max(row.v - t.top, 0.0f), d = std::min(depth, 1.0f);
  kShaders[t.kind]({t, row, scratch, out, depth, depth * (1.5f - 0.5f * d)});
}

}  // namespace wm
