// attention_cam(q [B, A, Nq, d], k [B, A, Nk, d], v [B, A, Nk, dv], dOut [B, A, Nq, dv], keyLengths i32 [B]?; scale)
//   = mean over heads of P max(dP, 0)  [B, Nq, Nk],  P = softmax(scale q k^T),  dP = dOut v^T     (kernels.md A5)
// A task is one query of one sample with all its heads: the row of the result is written once, and of P and dP no more than
// a row exists. A sample without keys gives zeros. Arithmetic and result f32 (f64 for f64).
#include <algorithm>

#include "native/core/op.h"
#include "native/cpu/math/rows.h"
#include "native/cpu/simd/vector_ops.h"

namespace wm {

namespace {

struct Sizes {
  int64_t batch, heads, nq, nk, d, dv;
};

Sizes read_sizes(const OpCall &call) {
  const TensorView &q = call.in(0), &k = call.in(1), &v = call.in(2), &up = call.in(3), &out = call.out(0);
  bool fits = q.ndim == 4 && k.ndim == 4 && v.ndim == 4 && up.ndim == 4 && out.ndim == 3;
  if (!fits) call.reject("q, k, v and dOut must have four axes");
  const Sizes s{q.dim(0), q.dim(1), q.dim(2), k.dim(2), q.dim(3), v.dim(3)};
  const auto is = [](const TensorView &t, int64_t a, int64_t b, int64_t c, int64_t e) {
    return t.dim(0) == a && t.dim(1) == b && t.dim(2) == c && t.dim(3) == e;
  };
  fits = is(k, s.batch, s.heads, s.nk, s.d) && is(v, s.batch, s.heads, s.nk, s.dv) && is(up, s.batch, s.heads, s.nq, s.dv) &&
         k.dtype == q.dtype && v.dtype == q.dtype && up.dtype == q.dtype && out.numel() == s.batch * s.nq * s.nk &&
         out.dtype == (q.dtype == DType::f64 ? DType::f64 : DType::f32);
  if (!fits) call.reject("q, k, v and dOut do not go together");
  if (call.has(4) && (call.in(4).dtype != DType::i32 || call.in(4).numel() != s.batch)) {
    call.reject("keyLengths must be i32 [B]");
  }
  return s;
}

// y[j] = a . rows[j], j < n
template <class T>
void products(const T *a, const T *rows, int64_t n, int64_t width, ComputeType<T> *scratch, ComputeType<T> *y) {
  using C = ComputeType<T>;
  const VectorOps<C> &ops = vector_ops<C>();
  const C *left = row_in(a, scratch, width);
  for (int64_t j = 0; j < n; ++j) y[j] = ops.dot(left, row_in(rows + j * width, scratch + width, width), width);
}

template <class T>
void cam(OpCall &call, const Sizes &s) {
  using C = ComputeType<T>;
  const VectorOps<C> &ops = vector_ops<C>();
  const T *q = call.in(0).as<const T>(), *k = call.in(1).as<const T>(), *v = call.in(2).as<const T>(),
          *up = call.in(3).as<const T>();
  const int32_t *lengths = call.has(4) ? call.in(4).as<const int32_t>() : nullptr;
  const C scale = static_cast<C>(call.attr(0)), share = C(1) / static_cast<C>(s.heads < 1 ? 1 : s.heads);
  C *out = call.out(0).as<C>();
  call.parallel(s.batch * s.nq, 1, [&](int64_t begin, int64_t end) {
    Scratch<C> memory(2 * s.nk + 2 * std::max(s.d, s.dv));
    C *p = memory.data(), *dp = p + s.nk, *row = dp + s.nk;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t b = item / s.nq, i = item % s.nq;
      C *y = out + item * s.nk;
      std::fill(y, y + s.nk, C(0));
      const int64_t keys = lengths == nullptr ? s.nk : std::clamp<int64_t>(lengths[b], 0, s.nk);
      for (int64_t head = 0; head < s.heads && keys > 0; ++head) {
        const int64_t at = b * s.heads + head;
        products(q + (at * s.nq + i) * s.d, k + at * s.nk * s.d, keys, s.d, row, p);
        products(up + (at * s.nq + i) * s.dv, v + at * s.nk * s.dv, keys, s.dv, row, dp);
        // A negative factor turns the order round: the largest logit is that of the smallest product.
        const C top = scale < 0 ? ops.min(p, keys) : ops.max(p, keys);
        const C factor = share / ops.exp_sum(p, top, scale, p, keys);
        for (int64_t j = 0; j < keys; ++j) y[j] += dp[j] > 0 ? p[j] * factor * dp[j] : C(0) * dp[j];
      }
    }
  });
}

void attention_cam(OpCall &call) {
  const Sizes s = read_sizes(call);
  dispatch_float(call, call.in(0).dtype, [&](auto zero) { cam<decltype(zero)>(call, s); });
}

}  // namespace

WM_REGISTER_CPU_OP(attention_cam, attention_cam, kContiguous)

}  // namespace wm
