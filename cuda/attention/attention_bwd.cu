// attention_bwd: gradients of attention from its inputs alone, P computed again:
//   dP = dO V^T + dMaps,  dS = P (dP - rowsum(P dP) + dLSE),  dV = P^T dO,  dA = scale dS B,  dB = scale dS^T A
// Inputs 0..8 as attention; 9 dO [B, Nq, A, dv], 10 dLSE [B, A, Nq], 11 dMaps [B, A, Nq, Nk], each optional.
// Outputs (=): dq [B, Nq, A, d], dk [B, Nk, A, d], dv [B, Nk, A, dv]; with termGrads the gradients of bias and (san)
// classMasks; with a self column dSelfKey and dSelfValue; by flag dP f32 [B, A, Nq, Nk]. No atomics: every element has one
// owner, and where a source stands on both sides of the product the second kernel adds what the first left in f32.
#include "cuda/attention/attention_bwd_terms.h"
#include "cuda/attention/attention_mma.h"
#include "native/core/shape_checks.h"

namespace wm::cuda::attention {

namespace {

struct Outputs {
  const TensorView *bias, *class_masks, *self_key, *self_value, *maps;
};

void check_numel(const LaunchCall &call, int i, int64_t numel) {
  if (call.out(i).numel() != numel) call.reject("output %d has the wrong size", i);
}

Outputs bind_outputs(const LaunchCall &call, const Call &c) {
  const Params &p = c.params[0];
  const int64_t rows = static_cast<int64_t>(p.batch) * p.nq * p.heads, keys = static_cast<int64_t>(p.batch) * p.nk * p.heads;
  const bool term_grads = call.attr_flag(kFirstOwnAttr);
  Outputs o{};
  int next = 3;
  const auto take = [&](int64_t numel) {
    check_numel(call, next, numel);
    return &call.out(next++);
  };
  if (term_grads && c.bias.present()) o.bias = take(c.bias.numel());
  if (term_grads && p.terms.class_mode == ClassMode::san) o.class_masks = take(c.class_masks.numel());
  if (c.self_key.present()) {
    o.self_key = take(rows * p.d);
    o.self_value = take(rows * p.dv);
  }
  if (call.attr_flag(kFirstOwnAttr + 1)) {
    o.maps = take(rows * p.nk);
    if (o.maps->dtype != DType::f32) call.reject("dP is f32");
  }
  check_numel(call, 0, rows * p.d);
  check_numel(call, 1, keys * p.d);
  check_numel(call, 2, keys * p.dv);
  for (int i = 0; i < 3; ++i) {
    if (call.out(i).dtype != c.q.dtype) call.reject("gradients of q, k and v need their dtype");
  }
  if (o.bias != nullptr && o.bias->dtype != c.bias.dtype) call.reject("the gradient of a term needs the term's dtype");
  if (o.class_masks != nullptr && o.class_masks->dtype != c.class_masks.dtype) call.reject("the gradient of a term needs the term's dtype");
  if (o.self_key != nullptr && (o.self_key->dtype != c.q.dtype || o.self_value->dtype != c.q.dtype)) {
    call.reject("gradients of the self column need the dtype of q");
  }
  return o;
}

BackwardParams read_gradients(LaunchCall &call, const Call &c) {
  const Params &p = c.params[0];
  const int out = kFirstOwnInput, lse = out + 1, maps = out + 2;
  check_gradient_input(call, out, "dO", p.batch, p.nq, p.heads, p.dv, c.q.dtype);
  check_gradient_input(call, lse, "dLSE", p.batch, p.heads, p.nq, -1, DType::f32);
  check_gradient_input(call, maps, "dMaps", p.batch, p.heads, p.nq, p.nk, DType::f32);
  if (call.has(lse) && c.count == 2) call.reject("two softmaxes have no common LSE");
  BackwardParams g{};
  if (call.has(out)) {
    const TensorView &t = call.in(out);
    g.d_out = {t.data, t.stride[0], t.stride[2], t.stride[1], t.stride[3]};
  }
  if (call.has(lse)) {
    const TensorView &t = call.in(lse);
    g.d_lse = {t.data, t.stride[0], t.stride[1], t.stride[2], 0};
  }
  if (call.has(maps)) g.d_maps = rows_of(call.in(maps));
  if (p.self_logit != nullptr) {
    g.self_key = rows_of(c.self_key);
    const int64_t rows = static_cast<int64_t>(p.batch) * p.heads * p.nq;
    if (call.has(out)) {
      g.self_gradient = self_gradients(call, c, g.d_out);
    } else {
      float *none = call.workspace<float>(rows);
      call.zero(none, static_cast<uint64_t>(rows) * sizeof(float));
      g.self_gradient = none;
    }
  }
  return g;
}

// Where the gradients of softmax s go. One whose rows and keys are the same input leaves dA in f32 for the second kernel.
void bind_targets(LaunchCall &call, const Call &c, int s, const BackwardParams &before, BackwardParams &g) {
  const Params &p = c.params[s];
  const int64_t rows = static_cast<int64_t>(p.batch) * p.heads * p.nq, keys = static_cast<int64_t>(p.batch) * p.heads * p.nk;
  const int a = source_input(c.source, s, false), b = source_input(c.source, s, true);
  g.lse2 = call.workspace<float>(rows);
  g.delta = call.workspace<float>(rows);
  g.da = target_of(a == b ? call.workspace<float>(rows * p.d) : call.out(a).data, p.nq, p.heads, p.d, a == b);
  if (a == b) g.add_b = rows_of(g.da);
  g.values_add_keys = b == 2;
  if (b != 2) g.db = target_of(call.out(b).data, p.nk, p.heads, p.d, false);
  const bool part = s + 1 < c.count;
  g.dv = target_of(part ? call.workspace<float>(keys * p.dv) : call.out(2).data, p.nk, p.heads, p.dv, part);
  if (s > 0) g.add_v = rows_of(before.dv);
}

void zero_unused(LaunchCall &call, const Call &c) {
  for (int input = 0; input < 2; ++input) {
    bool used = false;
    for (int s = 0; s < c.count; ++s) {
      used = used || source_input(c.source, s, false) == input || source_input(c.source, s, true) == input;
    }
    if (!used) call.zero(call.out(input).data, call.out(input).bytes());
  }
}

TermGradient term_of(const Call &c, const BackwardParams *g, const TensorView &like, const TensorView &out) {
  TermGradient t{};
  t.count = c.count;
  for (int s = 0; s < c.count; ++s) {
    t.params[s] = c.params[s];
    t.grads[s] = g[s];
  }
  t.out = out.data;
  t.dtype = out.dtype;
  for (int axis = 0; axis < 4; ++axis) t.shape[axis] = static_cast<int>(like.shape[axis]);
  t.rows = c.params[0].nq;
  t.columns = c.params[0].nk;
  return t;
}

void window_factor_gradient(LaunchCall &call, const Call &c, const BackwardParams *g) {
  TensorView one{};
  one.ndim = 4;
  one.shape[0] = c.params[0].batch;
  one.shape[1] = one.shape[2] = one.shape[3] = 1;
  one.data = call.workspace<float>(c.params[0].batch);
  TermGradient t = term_of(c, g, one, one);
  t.gaussian = true;
  term_gradient(call, c.q.dtype, t);
  norm_gradient(call, c, one.as<float>());
}

void attention_bwd(LaunchCall &call) {
  const Call c = make_call(call);
  const Outputs o = bind_outputs(call, c);
  BackwardParams g[2] = {read_gradients(call, c), {}};
  g[1] = g[0];
  zero_unused(call, c);
  for (int s = 0; s < c.count; ++s) {
    bind_targets(call, c, s, g[0], g[s]);
    bwd(call, c.q.dtype, c.params[s], g[s]);
  }
  if (o.bias != nullptr) term_gradient(call, c.q.dtype, term_of(c, g, c.bias, *o.bias));
  if (o.class_masks != nullptr) {
    TermGradient t = term_of(c, g, c.class_masks, *o.class_masks);
    t.rows = c.params[0].terms.class_tokens;
    t.first_key = t.rows + 1;
    t.columns = c.params[0].nk - t.first_key;
    term_gradient(call, c.q.dtype, t);
  }
  if (o.self_key != nullptr) self_column_gradient(call, c.q.dtype, c.params[0], g[0], o.self_key->data, o.self_value->data);
  if (c.nonly) window_factor_gradient(call, c, g);
  if (o.maps != nullptr) {
    Params p = c.params[0];
    p.a = g[0].d_out;
    p.b = p.v;
    p.d = p.dv;
    map(call, c.q.dtype, p, {o.maps->as<float>(), false, nullptr, g[0].d_maps});
  }
}

}  // namespace

void bwd(LaunchCall &call, DType dtype, const Params &p, const BackwardParams &g) {
  if (call.tier() >= 2 && dtype == DType::bf16 && fits_bwd_mma(p, g)) return bwd_mma(call, p, g);
  bwd_rows_simt(call, dtype, p, g);
  bwd_keys_simt(call, dtype, p, g);
}

WM_REGISTER_CUDA_OP(attention_bwd, attention_bwd, kStrided)

}  // namespace wm::cuda::attention
