// softmax(scale * A B^T + bias + mask) V for every variant of the project: what a call asks for, the additive terms of
// a logit row, and the table of inner loops an instruction set provides.
// Shape letters: B images or windows, A heads, Nq and Nk queries and keys, d and dv head sizes, P patches.
#pragma once

#include <cstdint>

#include "native/core/op.h"

namespace wm {
namespace attention {

// Where the rows A and the columns B of the similarity come from.
enum class Source : int { qk = 0, kk = 1, qq = 2, vv = 3, qq_kk = 4 };

// The meaning of the class-token masks. maft: row r of the first n sees itself and the patches with mask >= 0.5.
// san: the patch part is added as it is, other copies and the original class token get -100.
enum class ClassMode : int { none = 0, maft = 1, san = 2 };

// A checked call. Attributes 0..9 and inputs 0..8 mean the same in attention and attention_bwd.
struct Params {
  int64_t batch, heads, nq, nk, d, dv;
  Source source;
  double scale;
  bool causal;
  double sigma;  // 0: no gaussian term
  int64_t grid_h, grid_w;
  bool nonly, rescue;
  int64_t class_tokens;
  ClassMode class_mode;
  TensorView q, k, v;      // [B, A, N, d]
  TensorView bias;         // [B|1, A|1, Nq|1, Nk|1] or absent
  TensorView mask;         // u8 [B, Nq, ceil(Nk / 8)], bit j of byte j/8 set: blocked
  TensorView class_masks;  // [B, A|1, n, P]
  TensorView self_k, self_v;  // [B, A, Nq, d], [B, A, Nq, dv]
  TensorView key_lengths;  // i32 [B]
};

constexpr int kFirstOwnAttr = 10;
constexpr int kFirstOwnInput = 9;

// Reads and checks shapes, so that nothing below can leave its memory.
Params make_params(const OpCall &call);

// The (A, B) pairs of a source: one, or two for the sum of two softmaxes.
struct Pair {
  const TensorView *a, *b;
};
int source_pairs(const Params &p, Pair pairs[2]);

// Number of leading keys that query row i of image b may see by length and causality.
int64_t key_limit(const Params &p, int64_t b, int64_t i);

// The inner loops. T: scores and sums; Op: operands of the products (T, or bf16 with T = float).
//
// Panels: a [K, N] operand is cut into panels of `panel` columns, the last one narrower (a multiple of `lanes`).
// Panel c starts at c * panel * K and holds row after row. With bf16 operands rows k and k+1 are interleaved column by
// column and K is padded to an even number.
template <class T, class Op>
struct Kernels {
  int lanes, panel;
  int rows;  // rows of the register tile; query tiles are multiples of it

  // C[m, n] = A[m, k] B[k0 .. k0+k, col0 .. col0+n] (+ C). n is a multiple of lanes, col0 of panel.
  // A's element (i, p) lies at a[i * lda + p], or at a[p * lda + i] where transposed (Op == T only).
  struct Product {
    const Op *a;
    int64_t lda;
    bool transposed;
    const Op *b;
    int64_t b_rows, k0, col0;
    int64_t m, n, k;
    T *c;
    int64_t ldc;
    bool accumulate;
  };
  void (*product)(const Product &args);

  // Largest of x[0 .. n), n >= 1.
  T (*row_max)(const T *x, int64_t n);
  // x = x * scale + bias (bias may be null); returns the largest.
  T (*row_bias_max)(T *x, int64_t n, T scale, const T *bias);
  // p = 2^(x * scale - shift), returns the sum before rounding to Op. x and p may be the same memory where Op == T.
  T (*row_exp_sum)(const T *x, int64_t n, T scale, T shift, Op *p);
  // out (+)= 2^(x * scale - shift) * factor. x and out may be the same memory.
  void (*row_probability)(const T *x, int64_t n, T scale, T shift, T factor, bool accumulate, T *out);
  // x *= factor.
  void (*row_scale)(T *x, int64_t n, T factor);
  // p *= factor, returns sum p * dp.
  T (*row_scale_dot)(T *p, const T *dp, int64_t n, T factor);
  // dp = p * (dp - shift).
  void (*row_jacobian)(const T *p, T *dp, int64_t n, T shift);
  // out[y * w + x] = gy[y] * gx[x] for an h x w grid.
  void (*grid_bias)(const T *gy, const T *gx, int64_t h, int64_t w, T *out);
  // row[j] = -inf where bit j is set.
  void (*block_bits)(const uint8_t *bits, int64_t n, T *row);
  // dst[c * ldd + r] = src[r * lds + c].
  void (*transpose)(const T *src, int64_t lds, int64_t rows, int64_t cols, T *dst, int64_t ldd);
  void (*to_bf16_row)(const T *src, int64_t n, bf16 *dst);
};

const Kernels<float, float> &scalar_kernels_f32();
const Kernels<double, double> &scalar_kernels_f64();
const Kernels<float, float> &avx2_kernels();
const Kernels<float, float> &avx512_kernels();
const Kernels<float, bf16> &avx512bf16_kernels();

// The best table of this machine for f32 arithmetic, or the f64 one.
template <class T>
const Kernels<T, T> &kernels();

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

}  // namespace attention
}  // namespace wm
