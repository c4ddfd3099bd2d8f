// The inner loops of attention in plain C++: f32 for machines without AVX2, f64 for gradient checks.
#include <cmath>
#include <limits>

#include "native/cpu/attention/attention.h"

namespace wm {
namespace attention {

namespace {

constexpr int kPanel = 16;
constexpr int kRows = 4;

// R rows of C against one panel of `width` columns.
template <class T, int R>
void tile(const typename Kernels<T, T>::Product &g, int64_t i, const T *b, int64_t width, T *c) {
  T sum[R][kPanel];
  for (int r = 0; r < R; ++r) {
    for (int64_t j = 0; j < kPanel; ++j) sum[r][j] = g.accumulate && j < width ? c[r * g.ldc + j] : 0;
  }
  for (int64_t p = 0; p < g.k; ++p, b += width) {
    for (int r = 0; r < R; ++r) {
      const T a = g.transposed ? g.a[p * g.lda + i + r] : g.a[(i + r) * g.lda + p];
      for (int64_t j = 0; j < width; ++j) sum[r][j] += a * b[j];
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int64_t j = 0; j < width; ++j) c[r * g.ldc + j] = sum[r][j];
  }
}

template <class T>
void product(const typename Kernels<T, T>::Product &g) {
  for (int64_t j = 0; j < g.n; j += kPanel) {
    const int64_t width = g.n - j < kPanel ? g.n - j : kPanel;
    const T *b = g.b + (g.col0 + j) * g.b_rows + g.k0 * width;
    int64_t i = 0;
    for (; i + kRows <= g.m; i += kRows) tile<T, kRows>(g, i, b, width, g.c + i * g.ldc + j);
    for (; i < g.m; ++i) tile<T, 1>(g, i, b, width, g.c + i * g.ldc + j);
  }
}

template <class T>
T row_max(const T *x, int64_t n) {
  T best = x[0];
  for (int64_t j = 1; j < n; ++j) best = x[j] > best ? x[j] : best;
  return best;
}

template <class T>
T row_bias_max(T *x, int64_t n, T scale, const T *bias) {
  for (int64_t j = 0; j < n; ++j) x[j] = x[j] * scale + (bias ? bias[j] : 0);
  return row_max(x, n);
}

template <class T>
T row_exp_sum(const T *x, int64_t n, T scale, T shift, T *p) {
  T sum = 0;
  for (int64_t j = 0; j < n; ++j) {
    p[j] = std::exp2(x[j] * scale - shift);
    sum += p[j];
  }
  return sum;
}

template <class T>
void row_probability(const T *x, int64_t n, T scale, T shift, T factor, bool accumulate, T *out) {
  for (int64_t j = 0; j < n; ++j) {
    const T p = std::exp2(x[j] * scale - shift) * factor;
    out[j] = accumulate ? out[j] + p : p;
  }
}

template <class T>
void row_scale(T *x, int64_t n, T factor) {
  for (int64_t j = 0; j < n; ++j) x[j] *= factor;
}

template <class T>
T row_scale_dot(T *p, const T *dp, int64_t n, T factor) {
  T sum = 0;
  for (int64_t j = 0; j < n; ++j) {
    p[j] *= factor;
    sum += p[j] * dp[j];
  }
  return sum;
}

template <class T>
void row_jacobian(const T *p, T *dp, int64_t n, T shift) {
  for (int64_t j = 0; j < n; ++j) dp[j] = p[j] * (dp[j] - shift);
}

template <class T>
void grid_bias(const T *gy, const T *gx, int64_t h, int64_t w, T *out) {
  for (int64_t y = 0; y < h; ++y, out += w) {
    for (int64_t x = 0; x < w; ++x) out[x] = gy[y] * gx[x];
  }
}

template <class T>
void block_bits(const uint8_t *bits, int64_t n, T *row) {
  for (int64_t j = 0; j < n; ++j) {
    if ((bits[j >> 3] >> (j & 7)) & 1) row[j] = -std::numeric_limits<T>::infinity();
  }
}

template <class T>
void to_bf16_row(const T *src, int64_t n, bf16 *dst) {
  for (int64_t j = 0; j < n; ++j) dst[j] = to_bf16(static_cast<float>(src[j]));
}

template <class T>
void transpose(const T *src, int64_t lds, int64_t rows, int64_t cols, T *dst, int64_t ldd) {
  for (int64_t c = 0; c < cols; ++c) {
    for (int64_t r = 0; r < rows; ++r) dst[c * ldd + r] = src[r * lds + c];
  }
}

template <class T>
constexpr Kernels<T, T> make_table() {
  return {4, kPanel, kRows, product<T>, row_max<T>, row_bias_max<T>, row_exp_sum<T>, row_probability<T>, row_scale<T>,
          row_scale_dot<T>, row_jacobian<T>, grid_bias<T>, block_bits<T>, transpose<T>, to_bf16_row<T>};
}

}  // namespace

const Kernels<float, float> &scalar_kernels_f32() {
  static constexpr Kernels<float, float> table = make_table<float>();
  return table;
}

const Kernels<double, double> &scalar_kernels_f64() {
  static constexpr Kernels<double, double> table = make_table<double>();
  return table;
}

}  // namespace attention
}  // namespace wm
