// Reads the attributes and checks the shapes of attention and attention_bwd.
#include "native/cpu/attention/attention.h"
#include "native/core/cpu_info.h"

namespace wm {
namespace attention {

namespace {

void check_shape(const OpCall &call, const char *what, const TensorView &t, int64_t a, int64_t b, int64_t c, int64_t d) {
  if (t.ndim != 4 || t.shape[0] != a || t.shape[1] != b || t.shape[2] != c || t.shape[3] != d) {
    call.reject("%s must be [%lld, %lld, %lld, %lld]", what, static_cast<long long>(a), static_cast<long long>(b),
                static_cast<long long>(c), static_cast<long long>(d));
  }
}

void check_bias(const OpCall &call, const Params &p) {
  const int64_t full[4] = {p.batch, p.heads, p.nq, p.nk};
  bool ok = p.bias.ndim == 4;
  for (int i = 0; ok && i < 4; ++i) ok = p.bias.shape[i] == full[i] || p.bias.shape[i] == 1;
  if (!ok) call.reject("bias must be [B|1, heads|1, Nq|1, Nk|1]");
}

void check_terms(const OpCall &call, const Params &p) {
  const bool square = p.nq == p.nk;
  if (p.source != Source::qk && !square) call.reject("this source needs as many queries as keys");
  if (p.source == Source::vv && p.dv != p.d) call.reject("source vv needs v of the head size of q");
  if (p.causal && !square) call.reject("causal needs as many queries as keys");
  if (p.sigma > 0 && (!square || p.grid_h < 1 || p.grid_w < 1 || p.grid_h > p.nk || p.grid_h * p.grid_w > p.nk)) {
    call.reject("grid %lld x %lld does not fit %lld tokens", static_cast<long long>(p.grid_h),
                static_cast<long long>(p.grid_w), static_cast<long long>(p.nk));
  }
  if (p.nonly && (p.sigma <= 0 || p.source == Source::qq_kk || p.self_k.present() || p.key_lengths.present())) {
    call.reject("nonly needs a gaussian term and takes neither two softmaxes, a self column nor key lengths");
  }
  if (p.class_mode != ClassMode::none) {
    const int64_t patches = p.nk - p.class_tokens - (p.class_mode == ClassMode::san ? 1 : 0);
    if (!square || p.class_tokens < 1 || patches < 0) call.reject("class tokens do not fit the sequence");
    const int64_t heads = p.class_masks.ndim == 4 && p.class_masks.shape[1] == 1 ? 1 : p.heads;
    check_shape(call, "classMasks", p.class_masks, p.batch, heads, p.class_tokens, patches);
  }
  if (p.self_k.present() != p.self_v.present()) call.reject("selfKey and selfValue come together");
  if (p.self_k.present()) {
    if (p.source == Source::qq_kk) call.reject("a self column needs a single softmax");
    check_shape(call, "selfKey", p.self_k, p.batch, p.heads, p.nq, p.d);
    check_shape(call, "selfValue", p.self_v, p.batch, p.heads, p.nq, p.dv);
    if (p.self_k.dtype != p.q.dtype || p.self_v.dtype != p.q.dtype) call.reject("selfKey and selfValue need the dtype of q");
  }
  if (p.mask.present()) {
    const bool ok = p.mask.ndim == 3 && p.mask.shape[0] == p.batch && p.mask.shape[1] == p.nq &&
                    p.mask.shape[2] == (p.nk + 7) / 8 && (p.mask.dtype == DType::u8 || p.mask.dtype == DType::boolean);
    if (!ok) call.reject("mask must be u8 [B, Nq, ceil(Nk / 8)]");
  }
  if (p.key_lengths.present() &&
      (p.key_lengths.ndim != 1 || p.key_lengths.shape[0] != p.batch || p.key_lengths.dtype != DType::i32)) {
    call.reject("keyLengths must be i32 [B]");
  }
}

void check_float(const OpCall &call, const char *what, const TensorView &t) {
  if (t.present() && (t.dtype == DType::i32 || t.dtype == DType::u8 || t.dtype == DType::boolean)) {
    call.reject("%s needs a floating dtype, got %s", what, dtype_name(t.dtype));
  }
}

TensorView optional_input(const OpCall &call, int i) { return call.has(i) ? call.in(i) : TensorView{}; }

}  // namespace

Params make_params(const OpCall &call) {
  Params p{};
  p.q = call.in(0);
  p.k = call.in(1);
  p.v = call.in(2);
  if (p.q.ndim != 4 || p.k.ndim != 4 || p.v.ndim != 4) call.reject("q, k and v must be [B, heads, N, d]");
  if (p.k.dtype != p.q.dtype || p.v.dtype != p.q.dtype) call.reject("q, k and v need one dtype");
  p.batch = p.q.shape[0];
  p.heads = p.q.shape[1];
  p.nq = p.q.shape[2];
  p.nk = p.k.shape[2];
  p.d = p.q.shape[3];
  p.dv = p.v.shape[3];
  check_shape(call, "k", p.k, p.batch, p.heads, p.nk, p.d);
  check_shape(call, "v", p.v, p.batch, p.heads, p.nk, p.dv);
  const int64_t source = call.attr_int(0), mode = call.attr_int(9);
  if (source < 0 || source > 4) call.reject("source %lld is none of 0..4", static_cast<long long>(source));
  if (mode < 0 || mode > 2) call.reject("classMode %lld is none of 0..2", static_cast<long long>(mode));
  p.source = static_cast<Source>(source);
  p.scale = call.attr(1);
  p.causal = call.attr_flag(2);
  p.sigma = call.attr(3);
  p.grid_h = call.attr_int(4);
  p.grid_w = call.attr_int(5);
  p.nonly = call.attr_flag(6);
  p.rescue = call.attr_flag(7);
  p.class_tokens = call.attr_int(8);
  p.class_mode = static_cast<ClassMode>(mode);
  p.bias = optional_input(call, 3);
  p.mask = optional_input(call, 4);
  p.class_masks = optional_input(call, 5);
  p.self_k = optional_input(call, 6);
  p.self_v = optional_input(call, 7);
  p.key_lengths = optional_input(call, 8);
  check_float(call, "q", p.q);
  check_float(call, "bias", p.bias);
  check_float(call, "classMasks", p.class_masks);
  if (p.bias.present()) check_bias(call, p);
  check_terms(call, p);
  return p;
}

int source_pairs(const Params &p, Pair pairs[2]) {
  switch (p.source) {
    case Source::qk: pairs[0] = {&p.q, &p.k}; return 1;
    case Source::kk: pairs[0] = {&p.k, &p.k}; return 1;
    case Source::qq: pairs[0] = {&p.q, &p.q}; return 1;
    case Source::vv: pairs[0] = {&p.v, &p.v}; return 1;
    case Source::qq_kk: break;
  }
  pairs[0] = {&p.q, &p.q};
  pairs[1] = {&p.k, &p.k};
  return 2;
}

int64_t key_limit(const Params &p, int64_t b, int64_t i) {
  int64_t limit = p.nk;
  if (p.key_lengths.present()) {
    const int64_t length = p.key_lengths.as<int32_t>()[b * p.key_lengths.stride[0]];
    if (length < limit) limit = length < 0 ? 0 : length;
  }
  if (p.causal && i + 1 < limit) limit = i + 1;
  return limit;
}

template <>
const Kernels<double, double> &kernels<double>() {
  return scalar_kernels_f64();
}

template <>
const Kernels<float, float> &kernels<float>() {
#if defined(__x86_64__)
  if (cpu_isa() >= Isa::avx512) return avx512_kernels();
  if (cpu_isa() >= Isa::avx2) return avx2_kernels();
#endif
  return scalar_kernels_f32();
}

}  // namespace attention
}  // namespace wm
