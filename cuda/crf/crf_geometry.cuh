// Where a pixel falls in the permutohedral lattice (dense-crf.md sections 3 and 4; Adams, Baek & Davis 2010), in f32 with
// one rounding an operation: near a tie another rounding picks another simplex, so the intrinsics that the compiler
// neither fuses nor reorders are used throughout.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "cuda/core/simt.h"

namespace wm::cuda {

// What the geometry of one term needs: scales of the features, and the layout of the keys. A key holds the first d
// coordinates of a vertex, each biased to be positive, in fields wide enough for all vertices and their neighbours: a
// step in the lattice is one integer addition.
template <int D, class Key>
struct CrfGeometry {
  float scale[D];     // of the features
  float factor[D];    // of the elevation
  int shift[D];
  int64_t bias[D];
  Key ones;           // +1 in every field
  Key big[D + 1];     // d+1 in field i; zero for the coordinate that is not stored
  int bits;           // of a key, all fields
  int64_t volume;     // no more vertices than this fit the fields
};

// Bounds of the coordinates, in the f32 arithmetic of the kernel; the features ascend, so their last values bound them.
template <int D>
struct CrfExtent {
  float factor[D];
  double low[D + 1], high[D + 1];

  CrfExtent(int64_t width, int64_t height, const float *scale) {
    const double last[5] = {static_cast<double>(width - 1), static_cast<double>(height - 1), 255.0, 255.0, 255.0};
    const float inverse = static_cast<float>(std::sqrt(2.0 / 3.0) * (D + 1));
    float product[D];
    for (int j = 0; j < D; ++j) {
      factor[j] = static_cast<float>(1.0 / std::sqrt(static_cast<double>((j + 2) * (j + 1))) * static_cast<double>(inverse));
      const float feature = static_cast<float>(last[j]) / scale[j];
      product[j] = feature * factor[j];
    }
    for (int i = 0; i <= D; ++i) {
      low[i] = i == 0 ? 0.0 : -static_cast<double>(static_cast<float>(i) * product[i - 1]);
      high[i] = 0.0;
      for (int j = i; j < D; ++j) high[i] += static_cast<double>(product[j]);
    }
  }
  double span(int i) const { return high[i] - low[i]; }
};

// The fields: all vertices of all pixels lie within 3(d+1) of the pixel, and their neighbours d further.
template <int D>
struct CrfFields {
  int bits[D];
  int64_t bias[D];
  int total = 0;
  double volume = D + 1;

  explicit CrfFields(const CrfExtent<D> &extent) {
    const int64_t margin = 4 * (D + 1) + 2;
    for (int i = 0; i < D; ++i) {
      bias[i] = static_cast<int64_t>(std::ceil(-extent.low[i])) + margin;
      const int64_t span = static_cast<int64_t>(std::ceil(extent.high[i])) + bias[i] + margin;
      bits[i] = 1;
      while ((int64_t{1} << bits[i]) <= span) ++bits[i];
      total += bits[i];
      // The coordinates of one vertex are equal modulo d+1.
      volume *= static_cast<double>(span / (D + 1) + 1);
    }
  }
};

template <int D, class Key>
CrfGeometry<D, Key> make_crf_geometry(const float *scale, const CrfExtent<D> &extent, const CrfFields<D> &fields) {
  CrfGeometry<D, Key> geometry;
  int shift = 0;
  geometry.ones = 0;
  for (int i = 0; i < D; ++i) {
    geometry.scale[i] = scale[i];
    geometry.factor[i] = extent.factor[i];
    geometry.shift[i] = shift;
    geometry.bias[i] = fields.bias[i];
    geometry.ones += static_cast<Key>(1) << shift;
    geometry.big[i] = static_cast<Key>(D + 1) << shift;
    shift += fields.bits[i];
  }
  geometry.big[D] = 0;
  geometry.bits = fields.total;
  geometry.volume = static_cast<int64_t>(std::min(fields.volume, 1e18));
  return geometry;
}

// Pixels are numbered in tiles of 8 x 4, rows of tiles from the top: pixels near each other share vertices.
struct CrfPixels {
  static constexpr int kTileWidth = 8, kTileHeight = 4;
  int width, height;

  // y << 16 | x of the i-th pixel.
  __device__ __forceinline__ uint32_t place(uint32_t i) const {
    const uint32_t w = static_cast<uint32_t>(width), h = static_cast<uint32_t>(height);
    const uint32_t band = i / (w * kTileHeight), in_band = i - band * w * kTileHeight;
    const uint32_t rows = min(static_cast<uint32_t>(kTileHeight), h - band * kTileHeight);
    const uint32_t tile = in_band / (kTileWidth * rows), in_tile = in_band - tile * kTileWidth * rows;
    const uint32_t columns = min(static_cast<uint32_t>(kTileWidth), w - tile * kTileWidth);
    const uint32_t y = in_tile / columns;
    return (band * kTileHeight + y) << 16 | (tile * kTileWidth + in_tile - y * columns);
  }
  // Index y*W + x of the i-th pixel.
  __device__ __forceinline__ int64_t index(uint32_t i) const {
    const uint32_t at = place(i);
    return static_cast<int64_t>(at >> 16) * width + (at & 0xffffu);
  }
};

template <int D, class Key>
struct CrfSimplex {
  Key key[D + 1];        // vertex m
  float weight[D + 1];   // barycentric
};

// value: x, y and, where D is 5, three colours.
template <int D, class Key>
__device__ __forceinline__ void find_simplex(const CrfGeometry<D, Key> &geometry, const int *value,
                                             CrfSimplex<D, Key> *out) {
  constexpr float kInverse = 1.0f / static_cast<float>(D + 1);
  float e[D + 1], sum = 0.0f;
#pragma unroll
  for (int j = D; j >= 1; --j) {
    const float feature = __fdiv_rn(static_cast<float>(value[j - 1]), geometry.scale[j - 1]);
    const float product = __fmul_rn(feature, geometry.factor[j - 1]);
    e[j] = __fsub_rn(sum, __fmul_rn(static_cast<float>(j), product));
    sum = __fadd_rn(sum, product);
  }
  e[0] = sum;

  float remainder[D + 1], difference[D + 1];
  int rank[D + 1], total = 0;
#pragma unroll
  for (int i = 0; i <= D; ++i) {
    const float v = rintf(__fmul_rn(e[i], kInverse));
    remainder[i] = __fmul_rn(v, static_cast<float>(D + 1));
    difference[i] = __fsub_rn(e[i], remainder[i]);
    total += static_cast<int>(v);
    rank[i] = 0;
  }
#pragma unroll
  for (int i = 0; i < D; ++i) {
#pragma unroll
    for (int j = i + 1; j <= D; ++j) {
      const int less = difference[i] < difference[j];
      rank[i] += less;
      rank[j] += 1 - less;
    }
  }

  // t of each rank, and the field of the coordinate of each rank. Selections instead of indexing: an array indexed by a
  // rank would live in memory.
  float sorted[D + 1];
  Key field[D + 1], key = 0;
#pragma unroll
  for (int i = 0; i <= D; ++i) {
    int k = rank[i] + total;
    float r = remainder[i];
    if (k < 0) {
      k += D + 1;
      r = __fadd_rn(r, static_cast<float>(D + 1));
    } else if (k > D) {
      k -= D + 1;
      r = __fsub_rn(r, static_cast<float>(D + 1));
    }
    const float t = __fmul_rn(__fsub_rn(e[i], r), kInverse);
#pragma unroll
    for (int slot = 0; slot <= D; ++slot) {
      if (k == slot || i == 0) {
        sorted[slot] = t;
        field[slot] = geometry.big[i];
      }
    }
    if (i < D) key += static_cast<Key>(static_cast<int64_t>(r) + geometry.bias[i]) << geometry.shift[i];
  }

  // b[j] receives +t of rank d-j and -t of rank d+1-j.
  out->weight[0] = __fadd_rn(sorted[D], __fsub_rn(1.0f, sorted[0]));
#pragma unroll
  for (int j = 1; j <= D; ++j) out->weight[j] = __fsub_rn(sorted[D - j], sorted[D + 1 - j]);
  // From vertex m to m+1 every coordinate grows by one, and the coordinate of rank d-m falls by d+1.
  out->key[0] = key;
#pragma unroll
  for (int m = 0; m < D; ++m) {
    key += geometry.ones - field[D - m];
    out->key[m + 1] = key;
  }
}

}  // namespace wm::cuda
