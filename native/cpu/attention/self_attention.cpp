// self_attention(qkv [B, L, 3 D], keyLengths i32 [B]?, starts i32 [S + 1]?; heads, scale, causal)
//   = softmax(scale q k^T) v  [B, L, D]
// self_attention_bwd(qkv, keyLengths?, starts?, dOut [B, L, D]; ...) = dqkv [B, L, 3 D], probabilities computed again:
//   dP = dO V^T,  dS = scale P (dP - rowsum(P dP)),  dV = P^T dO,  dQ = dS K,  dK = dS^T Q.
// q, k and v lie side by side in a row, the heads side by side in each. A row without a visible key gives zeros. With
// `starts` B is 1 and sequence s has the rows starts[s] .. starts[s + 1] - 1.
// One task is one head of one sample; the sequences of training are short enough for all of it to stay in the second cache
// level, so nothing is tiled over keys. Sums are f32 (f64 for f64); bf16 products where the CPU has them.
#include <algorithm>
#include <cmath>
#include <limits>

#include "native/core/cpu_info.h"
#include "native/core/refused_values.h"
#include "native/cpu/attention/attention_scratch.h"
#include "native/cpu/attention/self_attention.h"
#include "native/cpu/shape/strided.h"

namespace wm {
namespace attention {

namespace {

// Scores of a longer head would leave the cache.
constexpr int64_t kLongest = 256;

// Rows of one sequence, and how many of its keys may be seen.
struct Sequence {
  int64_t first, length, keys;
  bool causal;
  // Leading keys that row i sees.
  int64_t visible(int64_t i) const { return causal && i + 1 < keys ? i + 1 : keys; }
};

struct Heads {
  int64_t sequences, length /* the longest */, heads, d, rows;
  double scale;
  bool causal;
  const int32_t *key_lengths, *starts;

  int64_t width() const { return heads * d; }
  // Heads a task takes with one piece of working memory: few enough tasks that it stays in the cache of one core.
  int64_t grain() const { return std::max<int64_t>(1, sequences / 32) * (sequences >= 32 ? heads : 1); }
  Sequence longest() const { return {0, length, length, causal}; }
  Sequence sequence(int64_t s) const {
    if (starts != nullptr) return {starts[s], starts[s + 1] - starts[s], starts[s + 1] - starts[s], causal};
    int64_t keys = length;
    if (key_lengths != nullptr && key_lengths[s] < keys) keys = key_lengths[s] < 0 ? 0 : key_lengths[s];
    return {s * length, length, keys, causal};
  }
};

void read_starts(const OpCall &call, Heads &h) {
  const TensorView &starts = call.in(2);
  if (starts.dtype != DType::i32 || starts.ndim != 1 || starts.dim(0) < 1 || h.sequences != 1 || call.has(1)) {
    call.reject("starts must be i32 [S + 1] beside one row of sequences and no keyLengths");
  }
  h.starts = starts.as<int32_t>();
  h.sequences = starts.dim(0) - 1;
  h.length = 0;
  bool rising = h.starts[0] == 0 && h.starts[h.sequences] == h.rows;
  for (int64_t s = 0; s < h.sequences && rising; ++s) {
    const int64_t length = int64_t{h.starts[s + 1]} - h.starts[s];
    rising = length >= 0;
    h.length = std::max(h.length, length);
  }
  if (!rising) call.reject(refused_starts(h.rows));
}

Heads read_heads(const OpCall &call) {
  const TensorView &qkv = call.in(0);
  Heads h{};
  h.heads = call.attr_int(0);
  h.scale = call.attr(1);
  h.causal = call.attr_flag(2);
  if (qkv.ndim != 3 || h.heads < 1 || qkv.dim(2) % (3 * h.heads) != 0) call.reject("qkv must be [B, L, 3 * heads * d]");
  h.sequences = qkv.dim(0);
  h.length = qkv.dim(1);
  h.rows = h.sequences * h.length;
  h.d = qkv.dim(2) / (3 * h.heads);
  if (call.has(1)) {
    if (call.in(1).dtype != DType::i32 || call.in(1).numel() != h.sequences) call.reject("keyLengths must be i32 [B]");
    h.key_lengths = call.in(1).as<int32_t>();
  }
  if (call.has(2)) read_starts(call, h);
  return h;
}

// ---- any float type: plain loops

template <class C>
struct PlainWork {
  C *q, *k, *v, *up;        // [L, d]
  C *p, *dp;                // [L, L]
  C *dq, *dk, *dv;          // [L, d]
};

template <class C>
PlainWork<C> carve_plain(Scratch &s, const Heads &h, bool backward) {
  PlainWork<C> w{};
  const int64_t rows = h.length * h.d, scores = h.length * h.length;
  for (C **piece : {&w.q, &w.k, &w.v, &w.up}) *piece = s.take<C>(rows);
  w.p = s.take<C>(scores);
  if (!backward) return w;
  w.dp = s.take<C>(scores);
  for (C **piece : {&w.dq, &w.dk, &w.dv}) *piece = s.take<C>(rows);
  return w;
}

template <class T, class C>
void load_rows(const T *from, int64_t stride, int64_t rows, int64_t d, C *to) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < d; ++c) to[r * d + c] = to_float(from[r * stride + c]);
  }
}

template <class T, class C>
void store_rows(const C *from, int64_t rows, int64_t d, T *to, int64_t stride) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < d; ++c) to[r * stride + c] = from_float<T>(from[r * d + c]);
  }
}

template <class C>
C dot(const C *a, const C *b, int64_t n) {
  C sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

template <class C>
void add_scaled(C *to, const C *from, C factor, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] += factor * from[i];
}

template <class C>
void plain_probabilities(const Heads &h, const Sequence &s, const PlainWork<C> &w) {
  for (int64_t i = 0; i < s.length; ++i) {
    C *row = w.p + i * s.length;
    const int64_t n = s.visible(i);
    C peak = -std::numeric_limits<C>::infinity(), mass = 0;
    for (int64_t j = 0; j < n; ++j) {
      row[j] = dot(w.q + i * h.d, w.k + j * h.d, h.d) * static_cast<C>(h.scale);
      if (row[j] > peak) peak = row[j];
    }
    for (int64_t j = 0; j < n; ++j) mass += row[j] = std::exp(row[j] - peak);
    for (int64_t j = 0; j < n; ++j) row[j] /= mass;
    for (int64_t j = n; j < s.length; ++j) row[j] = 0;
  }
}

template <class C>
void plain_gradients(const Heads &h, const Sequence &s, const PlainWork<C> &w) {
  std::fill(w.dq, w.dq + s.length * h.d, C(0));
  std::fill(w.dk, w.dk + s.length * h.d, C(0));
  std::fill(w.dv, w.dv + s.length * h.d, C(0));
  for (int64_t i = 0; i < s.length; ++i) {
    const C *p = w.p + i * s.length, *up = w.up + i * h.d;
    C *dp = w.dp + i * s.length;
    const int64_t n = s.visible(i);
    for (int64_t j = 0; j < n; ++j) dp[j] = dot(up, w.v + j * h.d, h.d);
    const C shift = dot(p, dp, n);
    for (int64_t j = 0; j < n; ++j) {
      const C ds = static_cast<C>(h.scale) * p[j] * (dp[j] - shift);
      add_scaled(w.dv + j * h.d, up, p[j], h.d);
      add_scaled(w.dq + i * h.d, w.k + j * h.d, ds, h.d);
      add_scaled(w.dk + j * h.d, w.q + i * h.d, ds, h.d);
    }
  }
}

// `upstream` null: forward.
template <class T>
void plain(OpCall &call, const Heads &h, const T *qkv, const T *upstream, T *out) {
  using C = ComputeType<T>;
  const int64_t width = h.width(), row = 3 * width;
  const auto run_head = [&](int64_t task) {
    const Sequence s = h.sequence(task / h.heads);
    const int64_t column = task % h.heads * h.d;
    Scratch size;
    carve_plain<C>(size, h, upstream != nullptr);
    Scratch memory(size.used());
    const PlainWork<C> w = carve_plain<C>(memory, h, upstream != nullptr);
    const T *base = qkv + s.first * row + column;
    load_rows(base, row, s.length, h.d, w.q);
    load_rows(base + width, row, s.length, h.d, w.k);
    load_rows(base + 2 * width, row, s.length, h.d, w.v);
    plain_probabilities(h, s, w);
    if (upstream == nullptr) {
      std::fill(w.up, w.up + s.length * h.d, C(0));
      for (int64_t i = 0; i < s.length; ++i) {
        for (int64_t j = 0; j < s.visible(i); ++j) add_scaled(w.up + i * h.d, w.v + j * h.d, w.p[i * s.length + j], h.d);
      }
      return store_rows(w.up, s.length, h.d, out + s.first * width + column, width);
    }
    load_rows(upstream + s.first * width + column, width, s.length, h.d, w.up);
    plain_gradients(h, s, w);
    T *target = out + s.first * row + column;
    store_rows(w.dq, s.length, h.d, target, row);
    store_rows(w.dk, s.length, h.d, target + width, row);
    store_rows(w.dv, s.length, h.d, target + 2 * width, row);
  };
  call.parallel(h.sequences * h.heads, h.grain(), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) run_head(task);
  });
}

// ---- f32 and bf16 by words

#if defined(__x86_64__)

template <class T>
class ByWords {
 public:
  ByWords(const Heads &h, const ShortKernels &loops, const T *qkv, const T *upstream, T *out)
      : h_(h), loops_(loops), qkv_(qkv), upstream_(upstream), out_(out) {}

  static bool fits(const Heads &h) { return h.d % 32 == 0 && h.length <= kLongest; }

  void run(OpCall &call) const {
    call.parallel(h_.sequences * h_.heads, h_.grain(), [&](int64_t begin, int64_t end) {
      Scratch size;
      carve(size, h_.longest());
      Scratch memory(size.used());
      for (int64_t task = begin; task < end; ++task) {
        memory.rewind();
        run_head(h_.sequence(task / h_.heads), task % h_.heads * h_.d, memory);
      }
    });
  }

 private:
  static constexpr int64_t kPerWord = 4 / sizeof(T);
  static constexpr bool kNarrow = kPerWord > 1;

  struct Work {
    int64_t length, keys, row_words;  // keys: length in whole vectors
    int32_t *visible;
    uint32_t *across;   // [d words, keys]: K^T, V^T
    uint32_t *along;    // [row words, d]: rows of V, K, Q or dO
    float *p, *dp;      // [L, keys]
    T *weights, *d_weights;  // P and dS as elements; for f32 p and dp themselves
    uint32_t *turned;   // [row words, keys]: P or dS with rows in words
    float *sums;        // [L, d]
  };

  void run_head(const Sequence &s, int64_t column, Scratch &memory) const {
    if (s.length == 0) return;
    const Work w = carve(memory, s);
    for (int64_t i = 0; i < s.length; ++i) w.visible[i] = static_cast<int32_t>(s.visible(i));
    const T *q = qkv_ + s.first * row() + column;
    similarity(q, row(), q + h_.width(), w, w.p);
    loops_.softmax(w.p, w.visible, w.length, w.keys, static_cast<float>(h_.scale), kNarrow ? w.weights : nullptr);
    if (upstream_ == nullptr) forward(q, s.first, column, w);
    else backward(q, s.first, column, w);
  }

  int64_t row() const { return 3 * h_.width(); }
  static const uint32_t *words(const T *x) { return reinterpret_cast<const uint32_t *>(x); }

  Work carve(Scratch &memory, const Sequence &s) const {
    Work w{};
    w.length = s.length;
    w.keys = (s.length + 15) / 16 * 16;
    w.row_words = (s.length + kPerWord - 1) / kPerWord;
    w.visible = memory.take<int32_t>(w.length);
    w.across = memory.take<uint32_t>(h_.d / kPerWord * w.keys);
    w.along = memory.take<uint32_t>(w.row_words * h_.d);
    w.p = memory.take<float>(w.length * w.keys);
    w.weights = kNarrow ? memory.take<T>(w.length * w.keys) : reinterpret_cast<T *>(w.p);
    w.sums = memory.take<float>(w.length * h_.d);
    if (upstream_ == nullptr) return w;
    w.dp = memory.take<float>(w.length * w.keys);
    w.d_weights = kNarrow ? memory.take<T>(w.length * w.keys) : reinterpret_cast<T *>(w.dp);
    if (kNarrow) w.turned = memory.take<uint32_t>(w.row_words * w.keys);
    return w;
  }

  // out[i][j] = a row i . row j of `other`
  void similarity(const T *a, int64_t a_stride, const T *other, const Work &w, float *out) const {
    const int64_t depth = h_.d / kPerWord;
    loops_.transpose_words(words(other), row() / kPerWord, w.length, depth, w.keys, w.across);
    loops_.product({words(a), a_stride / kPerWord, 1, w.across, w.length, depth, w.keys, out});
  }

  // sums = M (rows of `other`), for M [L, keys].
  void mix(const T *m, const T *other, const Work &w) const {
    loops_.rows_to_words(other, row(), w.length, h_.d, w.along);
    loops_.product({words(m), w.keys / kPerWord, 1, w.along, w.length, w.row_words, h_.d, w.sums});
  }

  // sums = M^T (rows of `other`)
  void mix_transposed(const T *m, const T *other, int64_t stride, const Work &w) const {
    if (kNarrow) loops_.rows_to_words(m, w.keys, w.length, w.keys, w.turned);
    loops_.rows_to_words(other, stride, w.length, h_.d, w.along);
    loops_.product({kNarrow ? w.turned : words(m), 1, w.keys, w.along, w.length, w.row_words, h_.d, w.sums});
  }

  void store(const Work &w, T *to, int64_t stride) const {
    loops_.store_rows(w.sums, w.length, h_.d, h_.d, to, stride);
  }

  void forward(const T *q, int64_t first, int64_t column, const Work &w) const {
    mix(w.weights, q + 2 * h_.width(), w);
    store(w, out_ + first * h_.width() + column, h_.width());
  }

  void backward(const T *q, int64_t first, int64_t column, const Work &w) const {
    const int64_t width = h_.width();
    const T *up = upstream_ + first * width + column;
    T *to = out_ + first * row() + column;
    similarity(up, width, q + 2 * width, w, w.dp);
    loops_.jacobian(w.p, w.dp, w.length, w.keys, static_cast<float>(h_.scale), w.d_weights);
    mix_transposed(w.weights, up, width, w);
    store(w, to + 2 * width, row());
    mix(w.d_weights, q + width, w);
    store(w, to, row());
    mix_transposed(w.d_weights, q, row(), w);
    store(w, to + width, row());
  }

  const Heads h_;
  const ShortKernels &loops_;
  const T *qkv_, *upstream_;
  T *out_;
};

#endif

void any_type(OpCall &call, const Heads &h, const TensorView *upstream) {
  const TensorView &qkv = call.in(0), &out = call.out(0);
  const int64_t rows = h.rows * h.width();
  if (out.dtype != qkv.dtype || out.numel() != (upstream ? 3 * rows : rows)) call.reject("the output does not fit qkv");
  if (upstream && (upstream->dtype != qkv.dtype || upstream->numel() != rows)) call.reject("dOut must be [B, L, D] in qkv's dtype");
#if defined(__x86_64__)
  const auto by_words = [&](const ShortKernels &loops, auto zero) {
    using T = decltype(zero);
    ByWords<T>(h, loops, qkv.as<T>(), upstream ? upstream->as<T>() : nullptr, out.as<T>()).run(call);
  };
  const bool fits = ByWords<float>::fits(h);
  if (fits && qkv.dtype == DType::bf16 && cpu_isa() >= Isa::avx512bf16) return by_words(short_kernels_avx512bf16(), bf16{});
  if (fits && qkv.dtype == DType::f32 && cpu_isa() >= Isa::avx512) return by_words(short_kernels_avx512(), float{});
#endif
  dispatch_float(call, qkv.dtype, [&](auto zero) {
    using T = decltype(zero);
    plain<T>(call, h, qkv.as<T>(), upstream ? upstream->as<T>() : nullptr, out.as<T>());
  });
}

void self_attention(OpCall &call) { any_type(call, read_heads(call), nullptr); }

void self_attention_bwd(OpCall &call) { any_type(call, read_heads(call), &call.in(3)); }

}  // namespace

WM_REGISTER_CPU_OP(self_attention, self_attention, kContiguous)
WM_REGISTER_CPU_OP(self_attention_bwd, self_attention_bwd, kContiguous)

}  // namespace attention
}  // namespace wm
