// O = softmax(scale * A B^T + bias + mask) V, tiled over queries and keys with a running maximum and sum (online
// softmax). A tile is one product into scores, one pass of row loops, one product with V.
//
// Inputs: q, k, v [B, A, N, d] of any strides, then the optional ones of Params. Outputs (all overwritten): O
// [B, Nq, A, dv] in the dtype of q, so that the next projection reads rows of A * dv; then, by flag, LSE [B, A, Nq] and
// P [B, A, Nq, Nk], both f32 (f64 for f64). A row without any allowed key has O = 0, P = 0 and LSE = -inf.
// Key tiles start at key 0 and a row's sums see its own keys alone, so its bits depend on nothing else in the batch.
#include "native/cpu/attention/attention.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "native/core/cpu_info.h"
#include "native/cpu/attention/attention_pack.h"
#include "native/cpu/attention/attention_scratch.h"
#include "native/cpu/attention/attention_terms.h"

namespace wm {
namespace attention {

namespace {

constexpr int64_t kQueryTile = 64;  // rounded up to the register tile
constexpr int64_t kKeyTile = 256;
constexpr int64_t kPrefetchRows = 4;
// From this many (image, head) pairs on, a chunk is one pair with its packing (hot in L2); below, packing is a pass of
// its own and chunks are query tiles.
constexpr int64_t kPairChunks = 32;

template <class T, class Op>
class Forward {
 public:
  Forward(OpCall &call, const Params &p, const Kernels<T, Op> &loops)
      : call_(call), p_(p), loops_(loops), terms_(call, p, kernels<T>()), pairs_(source_pairs(p_, pair_)),
        depth_(padded_depth<Op>(p.d)), nk_(round_up(p.nk, loops.lanes)), dv_(round_up(p.dv, loops.lanes)),
        tile_(round_up(kQueryTile, loops.rows)), tiles_((p.nq + tile_ - 1) / tile_) {
    // Tiles of nearly equal height.
    if (tiles_ > 0) tile_ = round_up((p.nq + tiles_ - 1) / tiles_, loops.rows);
    if (tiles_ > 0) tiles_ = (p.nq + tile_ - 1) / tile_;
    int next = 1;
    if (call.attr_flag(kFirstOwnAttr)) lse_ = call.out(next++).as<T>();
    if (call.attr_flag(kFirstOwnAttr + 1)) probabilities_ = call.out(next++).as<T>();
    biased_ = terms_.any() || !(p.scale > 0);  // the maximum of raw products serves only a positive scale
  }

  void run() {
    const int64_t heads = p_.batch * p_.heads;
    if (heads >= kPairChunks) {
      call_.parallel(heads, 1, [&](int64_t begin, int64_t) {
        Scratch size;
        carve_packed(size);
        carve(size);
        Scratch memory(size.used());
        const Packed packed = carve_packed(memory);
        const Work work = carve(memory);
        pack(begin, packed);
        for (int64_t t = 0; t < tiles_; ++t) run_tile(begin, t, packed, work);
      });
      return;
    }
    Scratch size;
    carve_packed(size);
    char *all = call_.workspace<char>(static_cast<int64_t>(size.used()) * heads);
    auto packed_of = [&](int64_t head) {
      Packed packed{};
      char *base = all + static_cast<int64_t>(size.used()) * head;
      for (int s = 0; s < pairs_; ++s) packed.keys[s] = reinterpret_cast<Op *>(base + key_bytes() * s);
      packed.values = reinterpret_cast<Op *>(base + key_bytes() * pairs_);
      return packed;
    };
    call_.parallel(heads, 1, [&](int64_t begin, int64_t) { pack(begin, packed_of(begin)); });
    call_.parallel(heads * tiles_, 1, [&](int64_t begin, int64_t) {
      Scratch tile_size;
      carve(tile_size);
      Scratch memory(tile_size.used());
      run_tile(begin / tiles_, begin % tiles_, packed_of(begin / tiles_), carve(memory));
    });
  }

 private:
  struct Packed {
    Op *keys[2];
    Op *values;
  };
  struct Work {
    Op *a;           // [tile, depth]
    T *scores;       // [tile, kKeyTile]
    Op *p;           // the same memory where Op == T
    T *sum, *total;  // [tile, dv]
    T *peak, *mass;  // running maximum (base-2 exponent) and sum of each row
    T *row;          // terms of one row
    T *logits;       // [tile, nk] of a second softmax whose probabilities are wanted
  };

  int64_t key_bytes() const { return (depth_ * nk_ * static_cast<int64_t>(sizeof(Op)) + 63) / 64 * 64; }

  Packed carve_packed(Scratch &s) const {
    Packed packed{};
    for (int i = 0; i < pairs_; ++i) packed.keys[i] = s.take<Op>(depth_ * nk_);
    packed.values = s.take<Op>(padded_depth<Op>(p_.nk) * dv_);
    return packed;
  }

  Work carve(Scratch &s) const {
    Work w{};
    w.a = s.take<Op>(tile_ * depth_);
    w.scores = s.take<T>(tile_ * kKeyTile);
    if constexpr (std::is_same_v<T, Op>) w.p = w.scores;
    else w.p = s.take<Op>(tile_ * kKeyTile);
    w.sum = s.take<T>(tile_ * dv_);
    w.total = pairs_ > 1 ? s.take<T>(tile_ * dv_) : w.sum;
    w.peak = s.take<T>(tile_);
    w.mass = s.take<T>(tile_);
    w.row = s.take<T>(kKeyTile + terms_.row_slack());
    w.logits = probabilities_ != nullptr && pairs_ > 1 ? s.take<T>(tile_ * p_.nk) : nullptr;
    return w;
  }

  void pack(int64_t bh, const Packed &packed) const {
    const int64_t b = bh / p_.heads, head = bh % p_.heads;
    if (!p_.nonly) {
      for (int s = 0; s < pairs_; ++s) pack_transposed(loops_, head_view(*pair_[s].b, b, head), p_.nk, p_.d, packed.keys[s]);
    }
    pack_panels(loops_, head_view(p_.v, b, head), 0, p_.nk, p_.dv, packed.values);
  }

  // Where a tile lies and how far its rows see.
  struct Place {
    int64_t b, head, i0, rows, keys;
  };

  void run_tile(int64_t bh, int64_t t, const Packed &packed, const Work &w) const {
    Place at{bh / p_.heads, bh % p_.heads, t * tile_, 0, 0};
    at.rows = p_.nq - at.i0 < tile_ ? p_.nq - at.i0 : tile_;
    at.keys = key_limit(p_, at.b, at.i0 + at.rows - 1);
    for (int s = 0; s < pairs_; ++s) {
      start_rows(s, at, w);
      for (int64_t j0 = 0; j0 < at.keys; j0 += kKeyTile) key_tile(s, at, j0, packed, w);
      finish_rows(s, at, w);
    }
    store(at, w);
  }

  // Packs A and sets the running state: empty, or the self column alone.
  void start_rows(int s, const Place &at, const Work &w) const {
    const HeadView a = head_view(*pair_[s].a, at.b, at.head);
    if (!p_.nonly) pack_rows(loops_, a, at.i0, at.rows, p_.d, w.a);
    std::memset(w.sum, 0, static_cast<size_t>(at.rows * dv_) * sizeof(T));
    for (int64_t r = 0; r < at.rows; ++r) {
      w.peak[r] = -std::numeric_limits<T>::infinity();
      w.mass[r] = 0;
      if (!p_.self_k.present()) continue;
      const HeadView k = head_view(p_.self_k, at.b, at.head), v = head_view(p_.self_v, at.b, at.head);
      T dot = 0;
      for (int64_t c = 0; c < p_.d; ++c) dot += element<T>(a, at.i0 + r, c) * element<T>(k, at.i0 + r, c);
      w.peak[r] = dot * static_cast<T>(p_.scale) * kLog2e;
      w.mass[r] = 1;
      for (int64_t c = 0; c < p_.dv; ++c) w.sum[r * dv_ + c] = element<T>(v, at.i0 + r, c);
    }
  }

  void key_tile(int s, const Place &at, int64_t j0, const Packed &packed, const Work &w) const {
    const int64_t n = at.keys - j0 < kKeyTile ? at.keys - j0 : kKeyTile;
    // Whole panels: their width in memory does not shrink with the limit.
    int64_t columns = round_up(n, loops_.panel);
    if (columns > nk_ - j0) columns = nk_ - j0;
    if (p_.nonly) {
      std::memset(w.scores, 0, static_cast<size_t>(at.rows * kKeyTile) * sizeof(T));
    } else {
      loops_.product({w.a, depth_, false, packed.keys[s], depth_, 0, j0, at.rows, columns, depth_, w.scores, kKeyTile, false});
    }
    for (int64_t r = 0; r < at.rows; ++r) {
      if (biased_ && r + kPrefetchRows < at.rows) terms_.prefetch(at.b, at.head, at.i0 + r + kPrefetchRows, j0, n);
      softmax_row(s, at, r, j0, n, w);
    }
    loops_.product({w.p, kKeyTile, false, packed.values, padded_depth<Op>(p_.nk), j0, 0, at.rows, dv_,
                    padded_depth<Op>(n), w.sum, dv_, true});
  }

  // Scores of one row and key tile to unnormalised probabilities; the row's state moves on.
  void softmax_row(int s, const Place &at, int64_t r, int64_t j0, int64_t n, const Work &w) const {
    const int64_t i = at.i0 + r;
    int64_t visible = key_limit(p_, at.b, i) - j0;
    visible = visible < 0 ? 0 : (visible < n ? visible : n);
    Op *p = w.p + r * kKeyTile;
    if (visible > 0) {
      T *x = w.scores + r * kKeyTile;
      T best;
      if (biased_) {
        const T *bias = terms_.any() ? terms_.row(at.b, at.head, i, j0, visible, w.row) : nullptr;
        best = loops_.row_bias_max(x, visible, static_cast<T>(p_.scale), bias) * kLog2e;
      } else {
        best = loops_.row_max(x, visible) * exponent_scale();
      }
      if (probabilities_ != nullptr) std::memcpy(logit_row(s, at, r, w) + j0, x, static_cast<size_t>(visible) * sizeof(T));
      const T before = w.peak[r], peak = best > before ? best : before;
      const T mass = loops_.row_exp_sum(x, visible, exponent_scale(), finite_peak(peak), p);
      if (peak > before && w.mass[r] != 0) {
        const T factor = std::exp2(before - peak);
        w.mass[r] *= factor;
        loops_.row_scale(w.sum + r * dv_, dv_, factor);
      }
      w.mass[r] += mass;
      w.peak[r] = peak;
    }
    const int64_t end = padded_depth<Op>(n);
    if (visible < end) std::memset(static_cast<void *>(p + visible), 0, static_cast<size_t>(end - visible) * sizeof(Op));
  }

  // Scores are exponents of e times this (base 2): biased rows hold scale * s + bias, others s.
  T exponent_scale() const { return biased_ ? kLog2e : static_cast<T>(p_.scale) * kLog2e; }

  // A row blocked everywhere has peak -inf; subtracting it would give NaN.
  static T finite_peak(T peak) { return peak == -std::numeric_limits<T>::infinity() ? T(0) : peak; }

  T *logit_row(int s, const Place &at, int64_t r, const Work &w) const {
    return s > 0 ? w.logits + r * p_.nk : probability_row(at, r);
  }
  T *probability_row(const Place &at, int64_t r) const {
    return probabilities_ + ((at.b * p_.heads + at.head) * p_.nq + at.i0 + r) * p_.nk;
  }

  void finish_rows(int s, const Place &at, const Work &w) const {
    for (int64_t r = 0; r < at.rows; ++r) {
      const T inverse = w.mass[r] == 0 ? T(0) : T(1) / w.mass[r];
      T *sum = w.sum + r * dv_;
      loops_.row_scale(sum, dv_, inverse);
      if (pairs_ > 1) {
        T *total = w.total + r * dv_;
        for (int64_t c = 0; c < dv_; ++c) total[c] = s == 0 ? sum[c] : total[c] + sum[c];
      }
      if (lse_ != nullptr) {
        lse_[(at.b * p_.heads + at.head) * p_.nq + at.i0 + r] =
            w.mass[r] == 0 ? -std::numeric_limits<T>::infinity() : (w.peak[r] + std::log2(w.mass[r])) * kLn2;
      }
      if (probabilities_ == nullptr) continue;
      T *out = probability_row(at, r);
      const int64_t visible = key_limit(p_, at.b, at.i0 + r);
      loops_.row_probability(logit_row(s, at, r, w), visible, exponent_scale(), finite_peak(w.peak[r]), inverse, s > 0, out);
      if (visible < p_.nk) std::memset(out + visible, 0, static_cast<size_t>(p_.nk - visible) * sizeof(T));
    }
  }

  void store(const Place &at, const Work &w) const {
    for (int64_t r = 0; r < at.rows; ++r) {
      store_row(kernels<T>(), w.total + r * dv_, p_.dv, call_.out(0), ((at.b * p_.nq + at.i0 + r) * p_.heads + at.head) * p_.dv);
    }
  }

  static constexpr T kLog2e = static_cast<T>(1.4426950408889634074);
  static constexpr T kLn2 = static_cast<T>(0.69314718055994530942);

  OpCall &call_;
  Params p_;
  const Kernels<T, Op> &loops_;
  Terms<T> terms_;
  Pair pair_[2];
  int pairs_;
  int64_t depth_, nk_, dv_, tile_, tiles_;
  T *lse_ = nullptr, *probabilities_ = nullptr;
  bool biased_ = false;
};

void check_outputs(const OpCall &call, const Params &p) {
  const bool lse = call.attr_flag(kFirstOwnAttr), probabilities = call.attr_flag(kFirstOwnAttr + 1);
  if (call.num_outputs() != 1 + (lse ? 1 : 0) + (probabilities ? 1 : 0)) call.reject("outputs do not match the flags");
  if (lse && p.source == Source::qq_kk) call.reject("two softmaxes have no common LSE");
  const DType side = p.q.dtype == DType::f64 ? DType::f64 : DType::f32;
  int next = 1;
  bool ok = call.out(0).dtype == p.q.dtype && call.out(0).numel() == p.batch * p.nq * p.heads * p.dv;
  if (lse) {
    ok = ok && call.out(next).dtype == side && call.out(next).numel() == p.batch * p.heads * p.nq;
    ++next;
  }
  if (probabilities) ok = ok && call.out(next).dtype == side && call.out(next).numel() == p.batch * p.heads * p.nq * p.nk;
  if (!ok) call.reject("an output has the wrong size or dtype");
}

void attention(OpCall &call) {
  const Params p = make_params(call);
  check_outputs(call, p);
  switch (p.q.dtype) {
    case DType::f64: return Forward<double, double>(call, p, kernels<double>()).run();
#if defined(__x86_64__)
    case DType::bf16:
      if (cpu_isa() >= Isa::avx512bf16) return Forward<float, bf16>(call, p, avx512bf16_kernels()).run();
      [[fallthrough]];
#else
    case DType::bf16:
#endif
    case DType::f16:
    case DType::f32: return Forward<float, float>(call, p, kernels<float>()).run();
    default: call.reject("q needs a floating dtype, got %s", dtype_name(p.q.dtype));
  }
}

}  // namespace

WM_REGISTER_CPU_OP(attention, attention, kStrided)

}  // namespace attention
}  // namespace wm
