// Where a pixel falls in the permutohedral lattice (dense-crf.md section 4; Adams, Baek & Davis 2010), in f32 with
// one rounding an operation: near a tie another rounding picks another simplex, so no operation may be fused or
// reordered here. Everything that depends on one coordinate alone is tabulated, which keeps the roundings.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace wm {

// Vertex keys: the first d coordinates, each biased to be positive and packed into a field wide enough for all
// vertices and their neighbours, so that a step in the lattice is one integer addition.
template <int D, class Key>
struct KeyCodec {
  int shift[D];
  int64_t bias[D];
  Key ones;           // +1 in every field
  Key big[D + 1];     // d+1 in field i; zero for the coordinate that is not stored

  void finish() {
    ones = 0;
    for (int i = 0; i < D; ++i) {
      ones += static_cast<Key>(1) << shift[i];
      big[i] = static_cast<Key>(D + 1) << shift[i];
    }
    big[D] = 0;
  }
};

template <int D>
struct ElevationTables {
  // product[j][k] = f32(f32(k / scale_j) * s_j); times[j][k] = f32((j + 1) * product[j][k])
  std::vector<float> product[D], times[D];

  void fill(const int64_t *count, const float *scale) {
    const float inverse = static_cast<float>(std::sqrt(2.0 / 3.0) * (D + 1));
    for (int j = 0; j < D; ++j) {
      const float s = static_cast<float>(1.0 / std::sqrt(static_cast<double>((j + 2) * (j + 1))) *
                                         static_cast<double>(inverse));
      product[j].resize(static_cast<size_t>(count[j]));
      times[j].resize(static_cast<size_t>(count[j]));
      for (int64_t k = 0; k < count[j]; ++k) {
        const float feature = static_cast<float>(k) / scale[j];
        product[j][static_cast<size_t>(k)] = feature * s;
        times[j][static_cast<size_t>(k)] = static_cast<float>(j + 1) * product[j][static_cast<size_t>(k)];
      }
    }
  }

  // Bounds of e[i] over all values, for the width of the key fields.
  void bounds(int i, double *low, double *high) const {
    *low = i == 0 ? 0.0 : -static_cast<double>(times[i - 1].back());
    *high = 0.0;
    for (int j = i; j < D; ++j) *high += static_cast<double>(product[j].back());
  }

  void elevate(const int32_t *value, float *e) const {
    float sum = 0.0f;
    for (int j = D; j >= 1; --j) {
      e[j] = sum - times[j - 1][static_cast<size_t>(value[j - 1])];
      sum = sum + product[j - 1][static_cast<size_t>(value[j - 1])];
    }
    e[0] = sum;
  }
};

template <int D, class Key>
struct Simplex {
  Key key[D + 1];        // vertex m
  float weight[D + 1];   // barycentric
};

// Ties to even; exact for |x| < 2^22 (the caller bounds the coordinates), and needs no rounding instruction.
inline float round_even(float x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23
  return (x + kMagic) - kMagic;
}

template <int D, class Key>
inline void find_simplex(const KeyCodec<D, Key> &codec, const float *e, Simplex<D, Key> *out) {
  constexpr float kInverse = 1.0f / static_cast<float>(D + 1);
  float remainder[D + 1], difference[D + 1];
  int rank[D + 1] = {};
  float total = 0.0f;
  for (int i = 0; i <= D; ++i) {
    const float v = round_even(e[i] * kInverse);
    remainder[i] = v * static_cast<float>(D + 1);
    difference[i] = e[i] - remainder[i];
    total += v;
  }
  for (int i = 0; i < D; ++i) {
    for (int j = i + 1; j <= D; ++j) {
      const int less = difference[i] < difference[j];
      rank[i] += less;
      rank[j] += 1 - less;
    }
  }
  const int shift = static_cast<int>(total);
  int place[D + 1];     // coordinate of each rank
  float sorted[D + 1];  // t of each rank
  for (int i = 0; i <= D; ++i) {
    int k = rank[i] + shift;
    float r = remainder[i];
    if (k < 0) {
      k += D + 1;
      r += static_cast<float>(D + 1);
    } else if (k > D) {
      k -= D + 1;
      r -= static_cast<float>(D + 1);
    }
    remainder[i] = r;
    place[k] = i;
    sorted[k] = (e[i] - r) * kInverse;
  }
  // b[j] receives +t of rank d-j and -t of rank d+1-j.
  for (int j = 1; j <= D; ++j) out->weight[j] = sorted[D - j] - sorted[D + 1 - j];
  out->weight[0] = sorted[D] + (1.0f - sorted[0]);

  Key key = 0;
  for (int i = 0; i < D; ++i) {
    key += static_cast<Key>(static_cast<int64_t>(remainder[i]) + codec.bias[i]) << codec.shift[i];
  }
  out->key[0] = key;
  // From vertex m to m+1 every coordinate grows by one, and the coordinate of rank d-m falls by d+1.
  for (int m = 0; m < D; ++m) {
    key += codec.ones - codec.big[place[D - m]];
    out->key[m + 1] = key;
  }
}

}  // namespace wm
