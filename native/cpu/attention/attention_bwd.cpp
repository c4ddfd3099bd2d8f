// Gradients of attention: P is computed again from the inputs, then
//   dP = dO V^T + dMaps,  dS = P (dP - rowsum(P dP) + dLSE),  dV = P^T dO,  dA = scale dS B,  dB = scale dS^T A.
//
// Inputs 0..8 as attention; 9 dO [B, Nq, A, dv], 10 dLSE [B, A, Nq], 11 dMaps [B, A, Nq, Nk], each optional.
// Outputs (all overwritten): dq [B, Nq, A, d], dk [B, Nk, A, d], dv [B, Nk, A, dv]; with termGrads the gradients of bias
// and (san) classMasks in their shapes; with a self column dSelfKey [B, Nq, A, d] and dSelfValue [B, Nq, A, dv]; by flag
// dP [B, A, Nq, Nk], before the softmax Jacobian.
// One chunk owns a head, and all heads that share an element of a summed bias: no atomics, every sum in order of
// (image, head, query), so results depend on neither threads nor tile heights.
#include <cmath>
#include <cstring>
#include <limits>

#include "native/core/shape_checks.h"
#include "native/cpu/attention/attention.h"
#include "native/cpu/attention/attention_pack.h"
#include "native/cpu/attention/attention_scratch.h"
#include "native/cpu/attention/attention_terms.h"

namespace wm {
namespace attention {

namespace {

constexpr int64_t kQueryTile = 64;
// Scores and dP of a tile should stay in L2: this many elements each.
constexpr int64_t kTileElements = 64 * 1024;

enum Target : int { kTargetQ = 0, kTargetK = 1, kTargetV = 2 };

template <class T>
class Backward {
 public:
  Backward(OpCall &call, const Params &p, const Kernels<T, T> &loops)
      : call_(call), p_(p), loops_(loops), terms_(call, p, loops), pairs_(source_pairs(p_, pair_)),
        d_(round_up(p.d, loops.lanes)), dv_(round_up(p.dv, loops.lanes)), nk_(round_up(p.nk, loops.lanes)) {
    // An odd number of cache lines a row: transposed reads of a tile then spread over all cache sets.
    ldx_ = (nk_ / 16 | 1) * 16;
    if (ldx_ < nk_) ldx_ += 32;
    int64_t rows = kTileElements / ldx_ / loops.rows * loops.rows;
    if (rows > kQueryTile) rows = round_up(kQueryTile, loops.rows);
    tile_ = rows < 2 * loops.rows ? 2 * loops.rows : rows;
    d_out_ = call.has(kFirstOwnInput) ? call.in(kFirstOwnInput) : TensorView{};
    d_lse_ = call.has(kFirstOwnInput + 1) ? call.in(kFirstOwnInput + 1) : TensorView{};
    d_maps_ = call.has(kFirstOwnInput + 2) ? call.in(kFirstOwnInput + 2) : TensorView{};
    bind_outputs();
  }

  void run() {
    // Heads that add to the same bias element form one task.
    const bool share_b = bias_grad_ != nullptr && p_.bias.shape[0] == 1;
    const bool share_h = (bias_grad_ != nullptr && p_.bias.shape[1] == 1) ||
                         (mask_grad_ != nullptr && p_.class_masks.shape[1] == 1);
    const int64_t images = share_b ? 1 : p_.batch, heads = share_h ? 1 : p_.heads;
    if (p_.nonly) factor_grad_ = call_.template workspace<T>(p_.batch * p_.heads);
    call_.parallel(p_.batch * p_.heads == 0 ? 0 : images * heads, 1, [&](int64_t task, int64_t) {
      Scratch size;
      carve(size);
      Scratch memory(size.used());
      const Work w = carve(memory);
      for (int64_t b = share_b ? 0 : task / heads; b < (share_b ? p_.batch : task / heads + 1); ++b) {
        for (int64_t h = share_h ? 0 : task % heads; h < (share_h ? p_.heads : task % heads + 1); ++h) run_head(b, h, w);
      }
    });
    if (p_.nonly) call_.parallel(p_.batch, 1, [&](int64_t b, int64_t) { through_factor(b); });
    if (bias_grad_ != nullptr) store_term(bias_grad_, bias_out_);
    if (mask_grad_ != nullptr) store_term(mask_grad_, mask_out_);
  }

 private:
  struct Work {
    T *keys_t[2], *keys[2], *values_t;      // panels of B^T, B and V^T
    T *a, *a_panel, *d_out, *d_out_panel;   // a query tile of A and dO, as rows and as panels
    T *p, *dp, *ds;                         // [tile, ldx]; ds is dp unless two softmaxes need dp twice
    T *sum[3];                              // dq, dk, dv of the head, padded rows
    T *row;
  };
  struct Place {
    int64_t b, head, i0, rows, keys;
  };

  void bind_outputs() {
    int next = 3;
    const bool term_grads = call_.attr_flag(kFirstOwnAttr);
    if (term_grads && p_.bias.present()) bias_grad_ = term_buffer(p_.bias, bias_out_ = take(next++, p_.bias.numel()));
    if (term_grads && p_.class_mode == ClassMode::san) {
      mask_grad_ = term_buffer(p_.class_masks, mask_out_ = take(next++, p_.class_masks.numel()));
    }
    const int64_t rows = p_.batch * p_.nq * p_.heads;
    if (p_.self_k.present()) {
      self_k_out_ = take(next++, rows * p_.d);
      self_v_out_ = take(next++, rows * p_.dv);
    }
    if (call_.attr_flag(kFirstOwnAttr + 1)) {
      const TensorView out = take(next++, rows * p_.nk);
      if (out.dtype != (sizeof(T) == 8 ? DType::f64 : DType::f32)) call_.reject("dP needs the dtype of the sums");
      map_out_ = out.as<T>();
    }
    take(0, rows * p_.d);
    take(1, p_.batch * p_.nk * p_.heads * p_.d);
    take(2, p_.batch * p_.nk * p_.heads * p_.dv);
  }

  TensorView take(int i, int64_t numel) const {
    if (call_.out(i).numel() != numel) call_.reject("output %d has the wrong size", i);
    return call_.out(i);
  }

  // The output itself where its dtype is that of the sums.
  T *term_buffer(const TensorView &like, const TensorView &out) {
    if (out.dtype != like.dtype) call_.reject("the gradient of a term needs the term's dtype");
    const bool direct = out.dtype == (sizeof(T) == 8 ? DType::f64 : DType::f32);
    T *buffer = direct ? out.as<T>() : call_.template workspace<T>(out.numel());
    std::memset(buffer, 0, static_cast<size_t>(out.numel()) * sizeof(T));
    return buffer;
  }

  void store_term(const T *buffer, const TensorView &out) const {
    if (static_cast<const void *>(buffer) != out.data) store_row(loops_, buffer, out.numel(), out, 0);
  }

  Work carve(Scratch &s) const {
    Work w{};
    for (int i = 0; i < pairs_; ++i) {
      w.keys_t[i] = s.take<T>(p_.d * nk_);
      w.keys[i] = s.take<T>(p_.nk * d_);
    }
    w.values_t = s.take<T>(p_.dv * nk_);
    w.a = s.take<T>(tile_ * p_.d);
    w.a_panel = s.take<T>(tile_ * d_);
    w.d_out = s.take<T>(tile_ * p_.dv);
    w.d_out_panel = s.take<T>(tile_ * dv_);
    w.p = s.take<T>(tile_ * ldx_);
    w.dp = s.take<T>(tile_ * ldx_);
    w.ds = pairs_ > 1 ? s.take<T>(tile_ * ldx_) : w.dp;
    for (int i = 0; i < 3; ++i) w.sum[i] = s.take<T>(target_rows(i) * target_width(i));
    w.row = s.take<T>(p_.nk + terms_.row_slack());
    return w;
  }

  int64_t target_rows(int i) const { return i == kTargetQ ? p_.nq : p_.nk; }
  int64_t target_width(int i) const { return i == kTargetV ? dv_ : d_; }

  // dq, dk or dv: where the gradient of a source tensor belongs.
  int target_of(const TensorView *source) const {
    return source == &p_.q ? kTargetQ : (source == &p_.k ? kTargetK : kTargetV);
  }

  HeadView d_out_head(int64_t b, int64_t head) const {
    const TensorView &t = d_out_;
    return {t.data, t.dtype, b * t.stride[0] + head * t.stride[2], t.stride[1], t.stride[3]};
  }

  void run_head(int64_t b, int64_t head, const Work &w) const {
    for (int s = 0; s < pairs_ && !p_.nonly; ++s) {
      const HeadView keys = head_view(*pair_[s].b, b, head);
      pack_transposed(loops_, keys, p_.nk, p_.d, w.keys_t[s]);
      pack_panels(loops_, keys, 0, p_.nk, p_.d, w.keys[s]);
    }
    pack_transposed(loops_, head_view(p_.v, b, head), p_.nk, p_.dv, w.values_t);
    for (int i = 0; i < 3; ++i) std::memset(w.sum[i], 0, static_cast<size_t>(target_rows(i) * target_width(i)) * sizeof(T));
    T factor = 0;
    for (int64_t i0 = 0; i0 < p_.nq; i0 += tile_) {
      call_.check_cancelled();
      Place at{b, head, i0, p_.nq - i0 < tile_ ? p_.nq - i0 : tile_, 0};
      at.keys = key_limit(p_, b, i0 + at.rows - 1);
      map_gradient(at, w);
      for (int s = 0; s < pairs_; ++s) factor += softmax_gradient(s, at, w);
    }
    if (p_.nonly) factor_grad_[b * p_.heads + head] = factor;
    const int64_t widths[3] = {p_.d, p_.d, p_.dv};
    for (int i = 0; i < 3; ++i) {
      for (int64_t r = 0; r < target_rows(i); ++r) {
        store_row(loops_, w.sum[i] + r * target_width(i), widths[i], call_.out(i), ((b * target_rows(i) + r) * p_.heads + head) * widths[i]);
      }
    }
  }

  // Columns of whole panels that hold the keys in use.
  int64_t columns(int64_t keys) const {
    const int64_t n = round_up(keys, loops_.panel);
    return n < nk_ ? n : nk_;
  }

  // dP = dO V^T + dMaps of a tile, and its export.
  void map_gradient(const Place &at, const Work &w) const {
    const int64_t keys = map_out_ != nullptr ? p_.nk : at.keys;
    if (d_out_.present()) {
      const HeadView x = d_out_head(at.b, at.head);
      pack_rows(loops_, x, at.i0, at.rows, p_.dv, w.d_out);
      pack_panels(loops_, x, at.i0, at.rows, p_.dv, w.d_out_panel);
      loops_.product({w.d_out, p_.dv, false, w.values_t, p_.dv, 0, 0, at.rows, columns(keys), p_.dv, w.dp, ldx_, false});
    } else {
      std::memset(w.dp, 0, static_cast<size_t>(at.rows * ldx_) * sizeof(T));
    }
    for (int64_t r = 0; r < at.rows; ++r) {
      T *dp = w.dp + r * ldx_;
      if (d_maps_.present()) {
        const HeadView maps = head_view(d_maps_, at.b, at.head);
        for (int64_t j = 0; j < keys; ++j) dp[j] += element<T>(maps, at.i0 + r, j);
      }
      if (map_out_ == nullptr) continue;
      std::memcpy(map_out_ + ((at.b * p_.heads + at.head) * p_.nq + at.i0 + r) * p_.nk, dp, static_cast<size_t>(p_.nk) * sizeof(T));
    }
  }

  // One softmax of a tile; returns the gradient of the window's factor (nonly).
  T softmax_gradient(int s, const Place &at, const Work &w) const {
    const HeadView a = head_view(*pair_[s].a, at.b, at.head);
    T *ds = s + 1 < pairs_ ? w.ds : w.dp;
    if (p_.nonly) {
      std::memset(w.p, 0, static_cast<size_t>(at.rows * ldx_) * sizeof(T));
    } else {
      pack_rows(loops_, a, at.i0, at.rows, p_.d, w.a);
      pack_panels(loops_, a, at.i0, at.rows, p_.d, w.a_panel);
      loops_.product({w.a, p_.d, false, w.keys_t[s], p_.d, 0, 0, at.rows, columns(at.keys), p_.d, w.p, ldx_, false});
    }
    T factor = 0;
    for (int64_t r = 0; r < at.rows; ++r) {
      if (ds != w.dp) std::memcpy(ds + r * ldx_, w.dp + r * ldx_, static_cast<size_t>(at.keys) * sizeof(T));
      factor += row_gradient(s, at, r, w.p + r * ldx_, ds + r * ldx_, w);
    }
    if (d_out_.present()) {
      loops_.product({w.p, ldx_, true, w.d_out_panel, at.rows, 0, 0, at.keys, dv_, at.rows, w.sum[kTargetV], dv_, true});
    }
    if (p_.nonly) return factor;
    T *da = w.sum[target_of(pair_[s].a)] + at.i0 * d_, *db = w.sum[target_of(pair_[s].b)];
    loops_.product({ds, ldx_, false, w.keys[s], p_.nk, 0, 0, at.rows, d_, at.keys, da, d_, true});
    loops_.product({ds, ldx_, true, w.a_panel, at.rows, 0, 0, at.keys, d_, at.rows, db, d_, true});
    return 0;
  }

  // Scores in p and dP in ds become P and scale * dS, up to at.keys; additive terms take their share of dS.
  T row_gradient(int s, const Place &at, int64_t r, T *p, T *ds, const Work &w) const {
    const int64_t i = at.i0 + r, visible = key_limit(p_, at.b, i);
    const T infinity = std::numeric_limits<T>::infinity();
    const T own_logit = p_.self_k.present() ? self_logit(s, at, i) : -infinity;
    T peak = own_logit * kLog2e;
    if (visible > 0) {
      const T *bias = terms_.any() ? terms_.row(at.b, at.head, i, 0, visible, w.row) : nullptr;
      const T best = loops_.row_bias_max(p, visible, static_cast<T>(p_.scale), bias) * kLog2e;
      if (best > peak) peak = best;
    }
    // A row blocked everywhere has peak -inf; subtracting it would give NaN.
    if (peak == -infinity) peak = 0;
    const T own_mass = own_logit == -infinity ? T(0) : std::exp2(own_logit * kLog2e - peak);
    const T mass = own_mass + (visible > 0 ? loops_.row_exp_sum(p, visible, kLog2e, peak, p) : T(0));
    const T inverse = mass == 0 ? T(0) : T(1) / mass;
    T shift = visible > 0 ? loops_.row_scale_dot(p, ds, visible, inverse) : T(0);
    const T own = own_mass * inverse, d_own = self_value_gradient(at, i);
    shift += own * d_own;
    if (d_lse_.present()) {
      shift -= load_float<T>(d_lse_.data, d_lse_.dtype, at.b * d_lse_.stride[0] + at.head * d_lse_.stride[1] + i * d_lse_.stride[2]);
    }
    loops_.row_jacobian(p, ds, visible, shift);
    if (visible < at.keys) {
      std::memset(p + visible, 0, static_cast<size_t>(at.keys - visible) * sizeof(T));
      std::memset(ds + visible, 0, static_cast<size_t>(at.keys - visible) * sizeof(T));
    }
    add_term_gradients(at, i, ds, visible);
    if (p_.self_k.present()) self_gradients(s, at, i, own, own * (d_own - shift) * static_cast<T>(p_.scale), w);
    if (p_.nonly) {
      terms_.gaussian_row(i, 0, visible, w.row);
      return visible > 0 ? loops_.row_scale_dot(w.row, ds, visible, T(1)) : T(0);
    }
    loops_.row_scale(ds, visible, static_cast<T>(p_.scale));
    return 0;
  }

  T self_logit(int s, const Place &at, int64_t i) const {
    const HeadView a = head_view(*pair_[s].a, at.b, at.head), k = head_view(p_.self_k, at.b, at.head);
    T dot = 0;
    for (int64_t c = 0; c < p_.d; ++c) dot += element<T>(a, i, c) * element<T>(k, i, c);
    return dot * static_cast<T>(p_.scale);
  }

  // The gradient of the self column's probability: dO . v'.
  T self_value_gradient(const Place &at, int64_t i) const {
    if (!p_.self_v.present() || !d_out_.present()) return 0;
    const HeadView v = head_view(p_.self_v, at.b, at.head), d = d_out_head(at.b, at.head);
    T dot = 0;
    for (int64_t c = 0; c < p_.dv; ++c) dot += element<T>(d, i, c) * element<T>(v, i, c);
    return dot;
  }

  // `ds` is the scaled gradient of the self column's logit, `own` its probability.
  void self_gradients(int s, const Place &at, int64_t i, T own, T ds, const Work &w) const {
    const HeadView a = head_view(*pair_[s].a, at.b, at.head), k = head_view(p_.self_k, at.b, at.head);
    const int64_t row = (at.b * p_.nq + i) * p_.heads + at.head;
    T *da = w.sum[target_of(pair_[s].a)] + i * d_;
    for (int64_t c = 0; c < p_.d; ++c) {
      da[c] += ds * element<T>(k, i, c);
      const T value = ds * element<T>(a, i, c);
      store_row(loops_, &value, 1, self_k_out_, row * p_.d + c);
    }
    for (int64_t c = 0; c < p_.dv; ++c) {
      const T value = d_out_.present() ? own * element<T>(d_out_head(at.b, at.head), i, c) : T(0);
      store_row(loops_, &value, 1, self_v_out_, row * p_.dv + c);
    }
  }

  void add_term_gradients(const Place &at, int64_t i, const T *ds, int64_t n) const {
    if (bias_grad_ != nullptr) {
      const int64_t *shape = p_.bias.shape;
      const int64_t where[3] = {at.b, at.head, i};
      int64_t base = 0;
      for (int axis = 0; axis < 3; ++axis) base = base * shape[axis] + (shape[axis] == 1 ? 0 : where[axis]);
      T *out = bias_grad_ + base * shape[3];
      const int64_t step = shape[3] == 1 ? 0 : 1;
      for (int64_t j = 0; j < n; ++j) out[j * step] += ds[j];
    }
    if (mask_grad_ != nullptr && i < p_.class_tokens) {
      const int64_t *shape = p_.class_masks.shape, first = p_.class_tokens + 1;
      T *out = mask_grad_ + ((at.b * shape[1] + (shape[1] == 1 ? 0 : at.head)) * shape[2] + i) * shape[3];
      for (int64_t j = first; j < n; ++j) out[j - first] += ds[j];
    }
  }

  // nonly: logits depend on A and B by scale * mean over heads of mean|a| mean|b| alone.
  void through_factor(int64_t b) const {
    T total = 0;
    for (int64_t head = 0; head < p_.heads; ++head) total += factor_grad_[b * p_.heads + head];
    for (int64_t head = 0; head < p_.heads; ++head) {
      const T *norms = terms_.mean_norms() + (b * p_.heads + head) * 2;
      const T share = total * static_cast<T>(p_.scale) / static_cast<T>(p_.heads);
      add_norm_gradient(pair_[0].a, b, head, share * norms[1]);
      add_norm_gradient(pair_[0].b, b, head, share * norms[0]);
    }
  }

  // Adds weight * d mean|x| / dx to the stored gradient of a source.
  void add_norm_gradient(const TensorView *source, int64_t b, int64_t head, T weight) const {
    const HeadView x = head_view(*source, b, head);
    const int64_t n = source->shape[2], width = source->shape[3];
    const TensorView &out = call_.out(target_of(source));
    for (int64_t i = 0; i < n; ++i) {
      T squares = 0;
      for (int64_t c = 0; c < width; ++c) squares += element<T>(x, i, c) * element<T>(x, i, c);
      if (squares == 0) continue;
      const T factor = weight / (std::sqrt(squares) * static_cast<T>(n));
      const int64_t at = ((b * n + i) * p_.heads + head) * width;
      for (int64_t c = 0; c < width; ++c) {
        const T value = load_float<T>(out.data, out.dtype, at + c) + factor * element<T>(x, i, c);
        store_row(loops_, &value, 1, out, at + c);
      }
    }
  }

  static constexpr T kLog2e = static_cast<T>(1.4426950408889634074);

  OpCall &call_;
  Params p_;
  const Kernels<T, T> &loops_;
  Terms<T> terms_;
  Pair pair_[2];
  int pairs_;
  int64_t d_, dv_, nk_, ldx_ = 0, tile_ = 0;
  TensorView d_out_, d_lse_, d_maps_, bias_out_, mask_out_, self_k_out_, self_v_out_;
  T *bias_grad_ = nullptr, *mask_grad_ = nullptr, *map_out_ = nullptr, *factor_grad_ = nullptr;
};

void attention_bwd(OpCall &call) {
  const Params p = make_params(call);
  const DType side = p.q.dtype == DType::f64 ? DType::f64 : DType::f32;
  check_gradient_input(call, kFirstOwnInput, "dO", p.batch, p.nq, p.heads, p.dv, p.q.dtype);
  check_gradient_input(call, kFirstOwnInput + 1, "dLSE", p.batch, p.heads, p.nq, -1, side);
  check_gradient_input(call, kFirstOwnInput + 2, "dMaps", p.batch, p.heads, p.nq, p.nk, side);
  if (call.has(kFirstOwnInput + 1) && p.source == Source::qq_kk) call.reject("two softmaxes have no common LSE");
  for (int i = 0; i < 3; ++i) {
    if (call.out(i).dtype != p.q.dtype) call.reject("gradients of q, k and v need their dtype");
  }
  if (side == DType::f64) Backward<double>(call, p, kernels<double>()).run();
  else Backward<float>(call, p, kernels<float>()).run();
}

}  // namespace

WM_REGISTER_CPU_OP(attention_bwd, attention_bwd, kStrided)

}  // namespace attention
}  // namespace wm
