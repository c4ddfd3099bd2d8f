// Attention forward on Hopper: which calls it takes, and their tensor maps.
#include "cuda/attention/attention_sm90.h"

namespace wm::cuda::attention {

namespace {

// The short form holds all scores of a row in registers, beside what terms need: more would spill.
constexpr int kShortKeys = 208, kShortKeysWithTerms = 80;

TensorMapShape shape_of(const Rows &x, const Params &p, int n, int width, int rows) {
  // An axis of size 1 needs a stride that the copy engine accepts, whatever it is.
  const auto step = [](int size, int64_t stride) { return size == 1 ? int64_t{64} : stride; };
  return {4, {width, n, p.heads, p.batch}, {1, step(n, x.row), step(p.heads, x.head), step(p.batch, x.batch)}, {64, rows, 1, 1}};
}

bool map_fits(const Rows &x, const Params &p, int n, int width) {
  return x.column == 1 && tensor_map_fits(x.data, DType::bf16, shape_of(x, p, n, width, 64));
}

}  // namespace

Maps make_maps(const Params &p, int q_rows, int key_rows) {
  return {make_tensor_map(p.a.data, DType::bf16, shape_of(p.a, p, p.nq, p.d, q_rows), true),
          make_tensor_map(p.b.data, DType::bf16, shape_of(p.b, p, p.nk, p.d, key_rows), true),
          make_tensor_map(p.v.data, DType::bf16, shape_of(p.v, p, p.nk, p.dv, key_rows), true)};
}

bool fits_sm90(const Params &p) {
  const int widest = max(p.d, p.dv);
  // Keys behind an image's length may hold anything, and a product with a zero weight would spread a NaN: mma zeroes them.
  return fits_mma(p) && widest > 32 && widest <= 128 && p.nk > 0 && p.starts == nullptr && p.key_lengths == nullptr &&
         map_fits(p.a, p, p.nq, p.d) && map_fits(p.b, p, p.nk, p.d) && map_fits(p.v, p, p.nk, p.dv);
}

void fwd_sm90(LaunchCall &call, const Params &p) {
  if (max(p.d, p.dv) > 64) return fwd_long_wide_sm90(call, p);
  if (p.splits == 1 && p.nk <= (p.has_terms ? kShortKeysWithTerms : kShortKeys)) return fwd_short_sm90(call, p);
  fwd_long_sm90(call, p);
}

}  // namespace wm::cuda::attention
