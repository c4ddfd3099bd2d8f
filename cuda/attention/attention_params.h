// One softmax of the attention family, O = softmax(scale A B^T + terms) V, as its kernels receive it: plain structs by
// value, made and checked on the host (attention_params.cu). The sum of two softmaxes is two launches.
// Shape letters: B images or windows, A heads, Nq and Nk queries and keys, d and dv head sizes, P patches.
#pragma once

#include <cstdint>

#include "cuda/core/op.h"

namespace wm::cuda::attention {

constexpr float kLog2e = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;

// Element (b, head, i, c) at b * batch + head * head_step + i * row + c * column. Null data: absent.
struct Rows {
  const void *data;
  int64_t batch, head, row, column;
};

// Where a result of one row a (b, head, i) goes; its columns are neighbours. `wide`: f32 whatever the inputs' type.
struct Target {
  void *data;
  int64_t batch, head, row;
  bool wide;
};

enum class ClassMode : int { none = 0, maft = 1, san = 2 };

// A float tensor of any float type but f64; steps of repeated axes are 0.
struct Broadcast {
  const void *data;
  DType dtype;
  int64_t step[4];
};

// The additive terms of a logit (kernels.md b1 to b4). Null pointers: absent.
struct Terms {
  const float *gy, *gx;  // g(t) at [t + grid_h - 1] and [t + grid_w - 1]
  int grid_h, grid_w;
  int lead;               // tokens before the grid
  float inverse_w;
  const float *factor;    // 'nonly': of each image
  Broadcast bias;
  const uint8_t *mask;    // bit j of a row set: key j blocked
  int64_t mask_step[3];
  const uint8_t *rescued;  // [B, Nq], 1: the row's mask does not count
  Broadcast class_masks;
  int class_tokens;
  ClassMode class_mode;
};

struct Params {
  int batch, heads, nq, nk, d, dv;
  float scale;
  bool causal;
  // False: a logit is scale times a product, scale > 0, and only length and causality block keys.
  bool has_terms;
  const int32_t *key_lengths;  // [B], null: all keys
  int64_t key_length_step;
  // Packed sequences: sequence s has the rows starts[s] .. starts[s + 1] - 1 of the nq = nk rows of one image, and `batch`
  // counts sequences.
  const int32_t *starts;
  Rows a, b, v;
  Terms terms;
  // One more key and value of each row's own: its logit as an exponent of 2 [B, A, Nq], and the values.
  const float *self_logit;
  Rows self_value;

  Target o;
  Rows add;    // f32, added to o: the first of two softmaxes
  float *lse;  // [B, A, Nq], null: not wanted
  float lse_unit;  // ln 2 for a natural logarithm, 1 for exponents of 2
  // Keys in `splits` ranges of `split_keys`: each a block of its own, with its own o and lse, split_o elements of o and
  // split_lse elements of lse behind one another. 1: no split.
  int splits, split_keys;
  int64_t split_o, split_lse;
};

// P or dP as a map [B, A, Nq, Nk] in f32.
struct MapParams {
  float *out;         // contiguous
  bool accumulate;
  const float *lse;   // P: natural logarithm of each row's mass [B, A, Nq]; null: out = a b^T + d_maps
  Rows d_maps;
};

// Gradients of one softmax. P is computed again from a, b and `lse2`.
struct BackwardParams {
  Rows d_out;   // [B, A, Nq, dv] by its steps, or absent
  Rows d_maps;  // f32 [B, A, Nq, Nk], or absent
  Rows d_lse;   // f32 [B, A, Nq] (column 0), or absent
  float *lse2;   // [B, A, Nq]: log2 of the row's mass; +inf where every key is blocked
  float *delta;  // [B, A, Nq]: sum_j P dP, self column included, - dLSE
  const float *self_gradient;  // [B, A, Nq]: dO v', beside Params::self_logit
  Rows self_key;
  Target da, db, dv;  // da of the rows, db and dv of the keys
  Rows add_b, add_v;  // f32, added to db and dv
  bool values_add_keys;  // source vv: dv += db, db itself is not stored
};

// The launches of a call: one softmax, or two.
struct Call {
  Params params[2];
  int count;
  int source;
  bool nonly;
  float scale;  // of the call; Params::scale is 0 with nonly
  const float *mean_norms;  // nonly: of the rows of a and b, [B, A, 2]
  TensorView q, k, v, bias, class_masks, self_key, self_value;
};

constexpr int kFirstOwnAttr = 10;
constexpr int kFirstOwnInput = 9;

// Reads and checks a call of attention or attention_bwd, and queues what its terms need (tables, window factors, rescued
// rows, the self column's logits).
Call make_call(LaunchCall &call);

// The self column's dO v' [B, A, Nq].
float *self_gradients(LaunchCall &call, const Call &c, const Rows &d_out);

Rows rows_of(const TensorView &t);
// Rows of a contiguous [B, N, A, width] tensor or buffer.
Target target_of(void *data, int64_t n, int64_t heads, int64_t width, bool wide);
Rows rows_of(const Target &t);

// 0 q, 1 k, 2 v: the input that a softmax of a source takes its rows or keys from.
int source_input(int source, int softmax, bool keys);

// ---- launchers, by tier

// One softmax. T1 takes any layout and head size; T2 what fits_mma() says; T3 what fits_sm90() says.
void fwd_simt(LaunchCall &call, DType dtype, const Params &p);
void fwd_mma(LaunchCall &call, const Params &p);
void fwd_sm90(LaunchCall &call, const Params &p);
void map_simt(LaunchCall &call, DType dtype, const Params &p, const MapParams &m);
void bwd_rows_simt(LaunchCall &call, DType dtype, const Params &p, const BackwardParams &g);
void bwd_keys_simt(LaunchCall &call, DType dtype, const Params &p, const BackwardParams &g);

// Tier and split of one softmax, from role, sizes and layout, never from the batch.
void fwd(LaunchCall &call, DType dtype, Params p);
void map(LaunchCall &call, DType dtype, const Params &p, const MapParams &m);
void bwd(LaunchCall &call, DType dtype, const Params &p, const BackwardParams &g);

// bf16, neighbouring columns, 16-byte rows, d and dv multiples of 8 up to 256.
bool fits_mma(const Params &p);

// Besides: heads of 33 to 128, rows within reach of the copy engine, one length for all images.
bool fits_sm90(const Params &p);

}  // namespace wm::cuda::attention
