// attention: O = softmax(scale * A B^T + bias + mask) V for every variant of the project, with LSE and the probabilities
// where asked for (kernels.md section 2). This file picks tiers and splits; the kernels are in attention_fwd_*.
//
// Inputs: q, k, v [B, A, N, d] of any strides, bias, mask, classMasks, selfKey, selfValue, keyLengths. Outputs (=): O
// [B, Nq, A, dv] in the dtype of q; LSE f32 [B, A, Nq]; P f32 [B, A, Nq, Nk]. A row without any allowed key has O = 0,
// P = 0, LSE = -inf.
#include "cuda/attention/attention_epilogue.cuh"
#include "cuda/core/reduce.cuh"

namespace wm::cuda::attention {

namespace {

// Cross-attention of few queries over many keys (object queries over a feature map) has too few query tiles for a device,
// so its keys are cut. Which calls are cut follows from role and Nk alone.
constexpr int kSplitFrom = 1024, kSplitKeys = 512, kMostSplits = 32;

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

// O (=), LSE (=) of a row from the parts of its splits: O_s normalised, lse_s exponents of 2. A warp a row.
template <class T>
__global__ void attention_combine_kernel(Params p, const float *o, const float *lse) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (row >= static_cast<int64_t>(p.batch) * p.heads * p.nq) return;
  Place at{};
  const int i = static_cast<int>(row % p.nq);
  at.head = static_cast<int>(row / p.nq % p.heads);
  at.b = static_cast<int>(row / p.nq / p.heads);
  const float own = p.self_logit != nullptr ? p.self_logit[row] : negative_infinity();
  float top = own;
  for (int s = 0; s < p.splits; ++s) top = fmaxf(top, lse[s * p.split_lse + row]);
  const float shift = top == negative_infinity() ? 0.0f : top;
  float mass = exp2f(own - shift);
  for (int s = 0; s < p.splits; ++s) mass += exp2f(lse[s * p.split_lse + row] - shift);
  const float inverse = mass == 0.0f ? 0.0f : 1.0f / mass;
  if (p.lse != nullptr && lane == 0) p.lse[row] = mass == 0.0f ? negative_infinity() : (shift + log2f(mass)) * p.lse_unit;
  const int64_t part = ((static_cast<int64_t>(at.b) * p.nq + i) * p.heads + at.head) * p.dv, out = target_row(p.o, at, i);
  for (int c = lane; c < p.dv; c += kWarp) {
    float sum = 0.0f;
    for (int s = 0; s < p.splits; ++s) sum = fmaf(exp2f(lse[s * p.split_lse + row] - shift), o[s * p.split_o + part + c], sum);
    if (p.self_logit != nullptr) {
      sum = fmaf(exp2f(own - shift), to_float((head_rows<T>(p.self_value, at) + i * p.self_value.row)[c * p.self_value.column]), sum);
    }
    sum *= inverse;
    if (p.add.data != nullptr) sum += (head_rows<float>(p.add, at) + i * p.add.row)[c];
    if (p.o.wide) static_cast<float *>(p.o.data)[out + c] = sum;
    else static_cast<T *>(p.o.data)[out + c] = from_float<T>(sum);
  }
}

void by_tier(LaunchCall &call, DType dtype, const Params &p) {
  if (call.tier() >= 3 && dtype == DType::bf16 && fits_sm90(p)) return fwd_sm90(call, p);
  if (call.tier() >= 2 && dtype == DType::bf16 && fits_mma(p)) return fwd_mma(call, p);
  fwd_simt(call, dtype, p);
}

void check_outputs(const LaunchCall &call, const Call &c) {
  const Params &p = c.params[0];
  const bool lse = call.attr_flag(kFirstOwnAttr), maps = call.attr_flag(kFirstOwnAttr + 1);
  const int64_t rows = static_cast<int64_t>(p.batch) * p.heads * p.nq;
  if (call.num_outputs() != 1 + (lse ? 1 : 0) + (maps ? 1 : 0)) call.reject("outputs do not match the flags");
  if (lse && c.count == 2) call.reject("two softmaxes have no common LSE");
  bool ok = call.out(0).dtype == c.q.dtype && call.out(0).numel() == rows * p.dv;
  if (lse) ok = ok && call.out(1).dtype == DType::f32 && call.out(1).numel() == rows;
  if (maps) {
    const TensorView &out = call.out(lse ? 2 : 1);
    ok = ok && out.dtype == DType::f32 && out.numel() == rows * p.nk;
  }
  if (!ok) call.reject("an output has the wrong size or dtype");
}

void attention(LaunchCall &call) {
  Call c = make_call(call);
  check_outputs(call, c);
  const Params &first = c.params[0];
  const int64_t rows = static_cast<int64_t>(first.batch) * first.heads * first.nq;
  const bool wants_lse = call.attr_flag(kFirstOwnAttr), wants_map = call.attr_flag(kFirstOwnAttr + 1);
  if (rows == 0) return;
  for (int s = 0; s < c.count; ++s) {
    Params &p = c.params[s];
    const bool part = s + 1 < c.count;  // the first of two
    void *o = part ? static_cast<void *>(call.workspace<float>(rows * p.dv)) : call.out(0).data;
    p.o = target_of(o, p.nq, p.heads, p.dv, part);
    if (s > 0) p.add = rows_of(c.params[0].o);
    if (wants_lse) p.lse = call.out(1).as<float>();
    else if (wants_map) p.lse = call.workspace<float>(rows);
    fwd(call, c.q.dtype, p);
    if (wants_map) map(call, c.q.dtype, p, {call.out(wants_lse ? 2 : 1).as<float>(), s > 0, p.lse, {}});
  }
}

}  // namespace

void fwd(LaunchCall &call, DType dtype, Params p) {
  if (p.starts != nullptr || p.nq == p.nk || p.nk < kSplitFrom) return by_tier(call, dtype, p);
  const int64_t rows = static_cast<int64_t>(p.batch) * p.heads * p.nq;
  const int even = (p.nk + kMostSplits - 1) / kMostSplits;
  Params parts = p;
  parts.split_keys = max(kSplitKeys, (even + 127) / 128 * 128);
  parts.splits = (p.nk + parts.split_keys - 1) / parts.split_keys;
  parts.split_o = rows * p.dv;
  parts.split_lse = rows;
  parts.lse = call.workspace<float>(rows * parts.splits);
  parts.lse_unit = 1.0f;
  parts.o = target_of(call.workspace<float>(rows * p.dv * parts.splits), p.nq, p.heads, p.dv, true);
  parts.self_logit = nullptr;
  parts.add = {};
  by_tier(call, dtype, parts);
  p.splits = parts.splits;
  p.split_o = parts.split_o;
  p.split_lse = parts.split_lse;
  dispatch_float(call, dtype, [&](auto zero) {
    using T = decltype(zero);
    WM_LAUNCH((attention_combine_kernel<T>), dim3(blocks_for(rows, kWarps)), dim3(kThreads), 0, call.stream(), p,
              static_cast<const float *>(parts.o.data), parts.lse);
  });
}

void map(LaunchCall &call, DType dtype, const Params &p, const MapParams &m) { map_simt(call, dtype, p, m); }

WM_REGISTER_CUDA_OP(attention, attention, kStrided)

}  // namespace wm::cuda::attention
