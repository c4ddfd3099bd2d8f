// The loops of optim_rows.h, written once over a vector type V. Each instruction set's file defines V in its anonymous
// namespace and includes this one inside it, so that no instantiation is shared between files at link time.
//
// V: F (a register of kWidth f32), load/store, load_part/store_part (first n lanes), set, add, mul, div, fma (a b + c),
// sqrt, store_half/store_half_part (rounded to bf16), D (a register of f64), zero, add_wide, square_sum (acc + the squares
// of a register in f64), sum.
// No include guard: it is a template body.

template <class V>
struct OptimLoops {
  using F = typename V::F;
  static constexpr int64_t W = V::kWidth;

  static F load(const float *x, int64_t lanes) { return lanes == W ? V::load(x) : V::load_part(x, lanes); }
  static void store(float *x, int64_t lanes, F v) {
    if (lanes == W) V::store(x, v);
    else V::store_part(x, lanes, v);
  }

  // body(offset, lanes): once a register, `lanes` = W but for a ragged end.
  template <class Body>
  static void each(int64_t n, Body body) {
    int64_t i = 0;
    for (; i + W <= n; i += W) body(i, W);
    if (i < n) body(i, n - i);
  }

  static void adamw(const AdamwNumbers &c, const float *grad, float *p, float *m, float *v, uint16_t *half, int64_t n) {
    const auto set = [](double x) { return V::set(static_cast<float>(x)); };
    const F scale = set(c.scale), b1 = set(c.beta1), b2 = set(c.beta2), r1 = set(1 - c.beta1), r2 = set(1 - c.beta2);
    const F keep = set(c.keep), rate = set(-c.rate), correction = set(c.correction), eps = set(c.eps);
    each(n, [&](int64_t i, int64_t l) {
      const F g = V::mul(load(grad + i, l), scale);
      const F mean = V::fma(b1, load(m + i, l), V::mul(r1, g));
      const F square = V::fma(b2, load(v + i, l), V::mul(V::mul(r2, g), g));
      const F step = V::div(mean, V::fma(V::sqrt(square), correction, eps));
      const F value = V::fma(rate, step, V::mul(keep, load(p + i, l)));
      store(m + i, l, mean);
      store(v + i, l, square);
      store(p + i, l, value);
      if (half == nullptr) return;
      if (l == W) V::store_half(half + i, value);
      else V::store_half_part(half + i, l, value);
    });
  }

  static void sgd(const SgdNumbers &c, const float *grad, float *p, float *buffer, int64_t n) {
    const auto set = [](double x) { return V::set(static_cast<float>(x)); };
    const F scale = set(c.scale), momentum = set(c.momentum), decay = set(c.decay), rate = set(-c.rate);
    each(n, [&](int64_t i, int64_t l) {
      const F before = load(p + i, l);
      const F g = V::fma(load(grad + i, l), scale, V::mul(decay, before));
      const F b = V::fma(momentum, load(buffer + i, l), g);
      store(buffer + i, l, b);
      store(p + i, l, V::fma(rate, c.nesterov ? V::fma(momentum, b, g) : b, before));
    });
  }

  static void blend(float a, float b, const float *x, float *y, int64_t n) {
    const F va = V::set(a), vb = V::set(b);
    if (a == 0.0f) {
      each(n, [&](int64_t i, int64_t l) { store(y + i, l, V::mul(vb, load(x + i, l))); });
    } else {
      each(n, [&](int64_t i, int64_t l) {
        store(y + i, l, V::fma(va, load(y + i, l), V::mul(vb, load(x + i, l))));
      });
    }
  }

  // Four registers of running sums hide the latency of the addition.
  static double sum_squares(const float *x, int64_t n) {
    typename V::D a0 = V::zero(), a1 = V::zero(), a2 = V::zero(), a3 = V::zero();
    int64_t i = 0;
    for (; i + 4 * W <= n; i += 4 * W) {
      a0 = V::square_sum(a0, V::load(x + i));
      a1 = V::square_sum(a1, V::load(x + i + W));
      a2 = V::square_sum(a2, V::load(x + i + 2 * W));
      a3 = V::square_sum(a3, V::load(x + i + 3 * W));
    }
    for (; i < n; i += W) a0 = V::square_sum(a0, load(x + i, n - i < W ? n - i : W));
    return V::sum(V::add_wide(V::add_wide(a0, a1), V::add_wide(a2, a3)));
  }

  static constexpr OptimKernels<float> table() { return {adamw, sgd, blend, sum_squares}; }
};
