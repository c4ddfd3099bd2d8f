// The loops of vector_ops.h, written once over a vector type V. Each instruction set's file defines V in its anonymous
// namespace and includes this one inside it, so that no instantiation is shared between files at link time.
//
// V: F (a register of kWidth lanes), Scalar, load/store, load_part/store_part (first n lanes; the others read as 0),
// set, add, sub, mul, div, fma (a b + c), max, min (NaN if either is), relu, abs, neg, sqrt, exp, log, sigmoid, tanh,
// gelu, gelu_tanh, quick_gelu, normal_cdf, is_positive (1 or 0), is_between, sign, keep_part (lanes n.. become `fill`),
// sum_lanes, max_lanes, min_lanes.
// No include guard: it is a template body.

template <class V>
struct Functions {
  using F = typename V::F;
  using T = typename V::Scalar;

  static F silu(F x) { return V::mul(x, V::sigmoid(x)); }
  // d/dx [x sigmoid(u(x))] = s + x s (1 - s) u'
  static F gated_slope(F x, F s, F slope) {
    const F one = V::set(T(1));
    return V::fma(V::mul(V::mul(x, s), V::sub(one, s)), slope, s);
  }
  static F d_silu(F x) { return gated_slope(x, V::sigmoid(x), V::set(T(1))); }
  static F d_quick_gelu(F x) {
    const F k = V::set(T(1.702));
    return gated_slope(x, V::sigmoid(V::mul(x, k)), k);
  }
  static F d_gelu_tanh(F x) {
    // 2 sqrt(2/pi) and that times 0.044715
    const F k = V::set(T(1.5957691216057308)), c = V::set(T(0.07135481627159905));
    const F x2 = V::mul(x, x);
    const F s = V::sigmoid(V::mul(x, V::fma(x2, c, k)));
    return gated_slope(x, s, V::fma(V::mul(x2, c), V::set(T(3)), k));
  }
  static F d_gelu(F x) {
    const F density = V::mul(V::exp(V::mul(V::mul(x, x), V::set(T(-0.5)))), V::set(T(0.3989422804014327)));
    return V::fma(x, density, V::normal_cdf(x));
  }
};

#define WM_UNARY(name, expression)                                        \
  template <class V>                                                      \
  struct name {                                                           \
    using F = typename V::F;                                              \
    using T = typename V::Scalar;                                         \
    static F apply(F x, [[maybe_unused]] F a, [[maybe_unused]] F b) {     \
      return expression;                                                  \
    }                                                                     \
  };
WM_UNARY(Neg, V::neg(x))
WM_UNARY(Exp, V::exp(x))
WM_UNARY(Log, V::log(x))
WM_UNARY(Sqrt, V::sqrt(x))
WM_UNARY(Rsqrt, V::div(V::set(T(1)), V::sqrt(x)))
WM_UNARY(Abs, V::abs(x))
WM_UNARY(Square, V::mul(x, x))
WM_UNARY(Sigmoid, V::sigmoid(x))
WM_UNARY(Tanh, V::tanh(x))
WM_UNARY(Relu, V::relu(x))
WM_UNARY(Silu, Functions<V>::silu(x))
WM_UNARY(Gelu, V::gelu(x))
WM_UNARY(GeluTanh, V::gelu_tanh(x))
WM_UNARY(QuickGelu, V::quick_gelu(x))
WM_UNARY(ScaleShift, V::add(V::mul(x, a), b))
WM_UNARY(Clamp, V::min(V::max(x, a), b))
WM_UNARY(DAbs, V::sign(x))
WM_UNARY(DSigmoid, V::mul(x, V::sub(V::set(T(1)), x)))
WM_UNARY(DTanh, V::sub(V::set(T(1)), V::mul(x, x)))
WM_UNARY(DRelu, V::is_positive(x))
WM_UNARY(DSilu, Functions<V>::d_silu(x))
WM_UNARY(DGelu, Functions<V>::d_gelu(x))
WM_UNARY(DGeluTanh, Functions<V>::d_gelu_tanh(x))
WM_UNARY(DQuickGelu, Functions<V>::d_quick_gelu(x))
WM_UNARY(DClamp, V::is_between(x, a, b))
#undef WM_UNARY

#define WM_BINARY(name, function)                                                        \
  template <class V>                                                                     \
  struct name {                                                                          \
    static typename V::F apply(typename V::F a, typename V::F b) { return V::function(a, b); } \
  };
WM_BINARY(Add, add)
WM_BINARY(Sub, sub)
WM_BINARY(Mul, mul)
WM_BINARY(Div, div)
WM_BINARY(Maximum, max)
WM_BINARY(Minimum, min)
#undef WM_BINARY

template <class V>
struct Loops {
  using F = typename V::F;
  using T = typename V::Scalar;
  static constexpr int64_t W = V::kWidth;

  // body(offset, lanes): once a register, `lanes` = W but for a ragged end.
  template <class Body>
  static void each(int64_t n, Body body) {
    int64_t i = 0;
    for (; i + W <= n; i += W) body(i, W);
    if (i < n) body(i, n - i);
  }
  static F load(const T *x, int64_t lanes) { return lanes == W ? V::load(x) : V::load_part(x, lanes); }
  static void store(T *x, int64_t lanes, F v) {
    if (lanes == W) V::store(x, v);
    else V::store_part(x, lanes, v);
  }

  template <class Op>
  static void unary(const T *x, T *y, int64_t n, T a, T b) {
    const F va = V::set(a), vb = V::set(b);
    each(n, [&](int64_t i, int64_t lanes) { store(y + i, lanes, Op::apply(load(x + i, lanes), va, vb)); });
  }

  template <class Op>
  static void binary(const T *a, int64_t sa, const T *b, int64_t sb, T *y, int64_t n) {
    if (n <= 0) return;
    if (sa != 0 && sb != 0) {
      each(n, [&](int64_t i, int64_t l) { store(y + i, l, Op::apply(load(a + i, l), load(b + i, l))); });
    } else if (sa != 0) {
      const F vb = V::set(b[0]);
      each(n, [&](int64_t i, int64_t l) { store(y + i, l, Op::apply(load(a + i, l), vb)); });
    } else if (sb != 0) {
      const F va = V::set(a[0]);
      each(n, [&](int64_t i, int64_t l) { store(y + i, l, Op::apply(va, load(b + i, l))); });
    } else {
      const F v = Op::apply(V::set(a[0]), V::set(b[0]));
      each(n, [&](int64_t i, int64_t l) { store(y + i, l, v); });
    }
  }

  // Four registers of running sums hide the latency of the addition. term(acc, offset, lanes) -> acc; lanes past a
  // ragged end must leave acc unchanged.
  template <class Term, class Merge>
  static F fold(int64_t n, F start, Term term, Merge merge) {
    F a0 = start, a1 = start, a2 = start, a3 = start;
    int64_t i = 0;
    for (; i + 4 * W <= n; i += 4 * W) {
      a0 = term(a0, i, W);
      a1 = term(a1, i + W, W);
      a2 = term(a2, i + 2 * W, W);
      a3 = term(a3, i + 3 * W, W);
    }
    for (; i + W <= n; i += W) a0 = term(a0, i, W);
    if (i < n) a1 = term(a1, i, n - i);
    return merge(merge(a0, a1), merge(a2, a3));
  }
  template <class Term>
  static T fold_sum(int64_t n, Term term) {
    return V::sum_lanes(fold(n, V::set(T(0)), term, [](F p, F q) { return V::add(p, q); }));
  }

  static T sum(const T *x, int64_t n) {
    return fold_sum(n, [&](F acc, int64_t i, int64_t l) { return V::add(acc, load(x + i, l)); });
  }
  static T dot(const T *a, const T *b, int64_t n) {
    return fold_sum(n, [&](F acc, int64_t i, int64_t l) { return V::fma(load(a + i, l), load(b + i, l), acc); });
  }
  static T sum_squared_deviation(const T *x, T mean, int64_t n) {
    const F m = V::set(mean);
    return fold_sum(n, [&](F acc, int64_t i, int64_t l) {
      const F d = V::keep_part(V::sub(load(x + i, l), m), l, T(0));
      return V::fma(d, d, acc);
    });
  }
  static T max(const T *x, int64_t n) {
    const T first = x[0];
    return V::max_lanes(fold(n, V::set(first),
      [&](F acc, int64_t i, int64_t l) { return V::max(acc, V::keep_part(load(x + i, l), l, first)); },
      [](F p, F q) { return V::max(p, q); }));
  }
  static T min(const T *x, int64_t n) {
    const T first = x[0];
    return V::min_lanes(fold(n, V::set(first),
      [&](F acc, int64_t i, int64_t l) { return V::min(acc, V::keep_part(load(x + i, l), l, first)); },
      [](F p, F q) { return V::min(p, q); }));
  }

  // Eight registers of sums at a time: each row is read once, the sums never leave the registers.
  static void weighted_rows(const T *rows, const int32_t *index, const T *weights, int64_t count, T *acc, int64_t n) {
    constexpr int kBlock = 8;
    int64_t at = 0;
    for (; at + kBlock * W <= n; at += kBlock * W) {
      F sums[kBlock];
      for (int v = 0; v < kBlock; ++v) sums[v] = V::load(acc + at + v * W);
      for (int64_t i = 0; i < count; ++i) {
        const T *row = rows + index[i] * n + at;
        const F w = V::set(weights[i]);
        for (int v = 0; v < kBlock; ++v) sums[v] = V::fma(w, V::load(row + v * W), sums[v]);
      }
      for (int v = 0; v < kBlock; ++v) V::store(acc + at + v * W, sums[v]);
    }
    each(n - at, [&](int64_t offset, int64_t lanes) {
      F sum = load(acc + at + offset, lanes);
      for (int64_t i = 0; i < count; ++i)
        sum = V::fma(V::set(weights[i]), load(rows + index[i] * n + at + offset, lanes), sum);
      store(acc + at + offset, lanes, sum);
    });
  }
  static void multiply_add(const T *a, const T *b, T *acc, int64_t n) {
    each(n, [&](int64_t i, int64_t l) {
      store(acc + i, l, V::fma(load(a + i, l), load(b + i, l), load(acc + i, l)));
    });
  }

  static T exp_sum(const T *x, T m, T scale, T *y, int64_t n) {
    const F vm = V::set(m), vs = V::set(scale);
    return fold_sum(n, [&](F acc, int64_t i, int64_t l) {
      const F e = V::keep_part(V::exp(V::mul(V::sub(load(x + i, l), vm), vs)), l, T(0));
      if (y != nullptr) store(y + i, l, e);
      return V::add(acc, e);
    });
  }
  static void exp_sum_columns(const T *x, const T *m, T scale, T *y, T *s, int64_t n) {
    const F vs = V::set(scale);
    each(n, [&](int64_t i, int64_t l) {
      const F e = V::exp(V::mul(V::sub(load(x + i, l), load(m + i, l)), vs));
      if (y != nullptr) store(y + i, l, e);
      store(s + i, l, V::add(load(s + i, l), e));
    });
  }

  // A row value that advances with the row or stands still.
  static F stepped(const T *x, int64_t step, int64_t i, int64_t l) { return step == 0 ? V::set(x[0]) : load(x + i, l); }

  static void shift(const T *x, const T *m, T scale, const T *l, int64_t step, T *y, int64_t n) {
    const F vs = V::set(scale);
    each(n, [&](int64_t i, int64_t k) {
      const F centred = V::mul(V::sub(load(x + i, k), stepped(m, step, i, k)), vs);
      store(y + i, k, V::sub(centred, stepped(l, step, i, k)));
    });
  }
  static void softmax_bwd(const T *y, const T *dy, const T *d, int64_t step, T scale, T *dx, int64_t n) {
    const F vs = V::set(scale);
    each(n, [&](int64_t i, int64_t l) {
      const F inner = V::sub(load(dy + i, l), stepped(d, step, i, l));
      store(dx + i, l, V::mul(V::mul(load(y + i, l), inner), vs));
    });
  }
  static void log_softmax_bwd(const T *y, const T *dy, const T *d, int64_t step, T scale, T *dx, int64_t n) {
    const F vs = V::set(scale);
    each(n, [&](int64_t i, int64_t l) {
      const F share = V::mul(V::exp(load(y + i, l)), stepped(d, step, i, l));
      store(dx + i, l, V::mul(V::sub(load(dy + i, l), share), vs));
    });
  }

  static void normalise(const T *x, T mean, T rstd, const T *gain, const T *bias, T *y, int64_t n) {
    const F m = V::set(mean), r = V::set(rstd);
    if (gain != nullptr && bias != nullptr) {
      each(n, [&](int64_t i, int64_t l) {
        const F h = V::mul(V::sub(load(x + i, l), m), r);
        store(y + i, l, V::fma(h, load(gain + i, l), load(bias + i, l)));
      });
      return;
    }
    each(n, [&](int64_t i, int64_t l) {
      F h = V::mul(V::sub(load(x + i, l), m), r);
      if (gain != nullptr) h = V::mul(h, load(gain + i, l));
      if (bias != nullptr) h = V::add(h, load(bias + i, l));
      store(y + i, l, h);
    });
  }
  static void layer_norm_bwd_sums(const T *x, const T *dy, T mean, T rstd, const T *gain, T *sums, T *dgain, T *dbias,
                                  int64_t n) {
    const F m = V::set(mean), r = V::set(rstd);
    F s0 = V::set(T(0)), s1 = V::set(T(0));
    each(n, [&](int64_t i, int64_t l) {
      const F h = V::mul(V::sub(load(x + i, l), m), r), up = load(dy + i, l);
      const F g = gain != nullptr ? V::mul(up, load(gain + i, l)) : up;  // 0 past a ragged end, as dy is
      s0 = V::add(s0, g);
      s1 = V::fma(g, h, s1);
      if (dgain != nullptr) store(dgain + i, l, V::fma(up, h, load(dgain + i, l)));
      if (dbias != nullptr) store(dbias + i, l, V::add(load(dbias + i, l), up));
    });
    sums[0] = V::sum_lanes(s0);
    sums[1] = V::sum_lanes(s1);
  }
  static void layer_norm_bwd_row(const T *x, const T *dy, T mean, T rstd, const T *gain, T c0, T c1, T *dx, int64_t n) {
    const F m = V::set(mean), r = V::set(rstd), v0 = V::set(c0), v1 = V::set(c1);
    each(n, [&](int64_t i, int64_t l) {
      const F h = V::mul(V::sub(load(x + i, l), m), r), up = load(dy + i, l);
      const F g = gain != nullptr ? V::mul(up, load(gain + i, l)) : up;
      store(dx + i, l, V::mul(V::sub(V::sub(g, v0), V::mul(h, v1)), r));
    });
  }
};

// Entries stand in the order of UnaryOp and BinaryOp.
template <class V>
constexpr VectorOps<typename V::Scalar> make_vector_ops() {
  using L = Loops<V>;
  return {
    {L::template unary<Neg<V>>, L::template unary<Exp<V>>, L::template unary<Log<V>>, L::template unary<Sqrt<V>>,
     L::template unary<Rsqrt<V>>, L::template unary<Abs<V>>, L::template unary<Square<V>>,
     L::template unary<Sigmoid<V>>, L::template unary<Tanh<V>>, L::template unary<Relu<V>>,
     L::template unary<Silu<V>>, L::template unary<Gelu<V>>, L::template unary<GeluTanh<V>>,
     L::template unary<QuickGelu<V>>, L::template unary<ScaleShift<V>>, L::template unary<Clamp<V>>,
     L::template unary<DAbs<V>>, L::template unary<DSigmoid<V>>, L::template unary<DTanh<V>>,
     L::template unary<DRelu<V>>, L::template unary<DSilu<V>>, L::template unary<DGelu<V>>,
     L::template unary<DGeluTanh<V>>, L::template unary<DQuickGelu<V>>, L::template unary<DClamp<V>>},
    {L::template binary<Add<V>>, L::template binary<Sub<V>>, L::template binary<Mul<V>>, L::template binary<Div<V>>,
     L::template binary<Maximum<V>>, L::template binary<Minimum<V>>},
    L::sum, L::dot, L::sum_squared_deviation, L::max, L::min, L::multiply_add, L::weighted_rows, L::exp_sum,
    L::exp_sum_columns, L::shift, L::softmax_bwd, L::log_softmax_bwd, L::normalise, L::layer_norm_bwd_sums, L::layer_norm_bwd_row,
  };
}
