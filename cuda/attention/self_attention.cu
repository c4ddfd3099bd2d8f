// self_attention(qkv [B, L, 3 D], keyLengths i32 [B]?, starts i32 [S + 1]?; heads, scale, causal)
//   = softmax(scale q k^T) v  [B, L, D]
// self_attention_bwd(qkv, keyLengths?, starts?, dOut [B, L, D]; ...) = dqkv [B, L, 3 D]
// The form of training: q, k and v side by side in a row, the heads side by side in each. The kernels are those of attention,
// which read strided rows; packed sequences (`starts`) are tiles of their own, so a short one wastes part of a tile.
#include "cuda/attention/attention_params.h"

namespace wm::cuda::attention {

namespace {

constexpr int kThreads = 256, kFillPerThread = 16;

// Refuses `starts` that do not rise from 0 to `rows`, and then y [n] (=) NaN: wrong sums must not pass for right ones. Every
// block looks at all starts (a few hundred) and fills its own part.
template <class T>
__global__ void reject_starts_kernel(const int32_t *starts, int sequences, int rows, T *y, int64_t n, Refusal refusal) {
  bool wrong = false;
  for (int s = static_cast<int>(threadIdx.x); s < sequences; s += kThreads) wrong = wrong || starts[s] > starts[s + 1];
  wrong = wrong || starts[0] != 0 || starts[sequences] != rows;
  if (!__syncthreads_or(wrong)) return;
  if (threadIdx.x == 0) refusal.at(0);
  for (int k = 0; k < kFillPerThread; ++k) {
    const int64_t i = (static_cast<int64_t>(blockIdx.x) * kFillPerThread + k) * kThreads + threadIdx.x;
    if (i < n) y[i] = from_float<T>(__int_as_float(0x7fc00000));
  }
}

void reject_starts(LaunchCall &call, const Params &p, const TensorView &out) {
  if (p.starts == nullptr) return;
  const Refusal refusal = call.refuses([rows = p.nq](const RefusedValue &) { return refused_starts(rows); });
  dispatch_float(call, out.dtype, [&](auto zero) {
    using T = decltype(zero);
    WM_LAUNCH((reject_starts_kernel<T>), dim3(blocks_for(out.numel(), kThreads * kFillPerThread)), dim3(kThreads), 0,
              call.stream(), p.starts, p.batch, p.nq, out.as<T>(), out.numel(), refusal);
  });
}

// Part 0, 1, 2 of the rows of a [B, L, parts * D] tensor.
Rows part_of(const TensorView &t, const Params &p, int part, int64_t element) {
  const int64_t width = t.dim(2);
  const char *data = static_cast<const char *>(t.data) + part * static_cast<int64_t>(p.heads) * p.d * element;
  return {data, t.dim(0) == 1 ? 0 : t.dim(1) * width, p.d, width, 1};
}

Target target_part(const TensorView &t, const Params &p, int part) {
  const Rows rows = part_of(t, p, part, static_cast<int64_t>(dtype_size(t.dtype)));
  return {const_cast<void *>(rows.data), rows.batch, rows.head, rows.row, false};
}

void read_sequences(const LaunchCall &call, Params &p) {
  if (call.has(1)) {
    const TensorView &lengths = call.in(1);
    if (lengths.dtype != DType::i32 || lengths.numel() != p.batch) call.reject("keyLengths must be i32 [B]");
    p.key_lengths = lengths.as<const int32_t>();
    p.key_length_step = 1;
  }
  if (!call.has(2)) return;
  const TensorView &starts = call.in(2);
  if (starts.dtype != DType::i32 || starts.ndim != 1 || starts.dim(0) < 1 || p.batch != 1 || call.has(1)) {
    call.reject("starts must be i32 [S + 1] beside one row of sequences and no keyLengths");
  }
  if (starts.dim(0) == 1 && p.nq > 0) call.reject(refused_starts(p.nq));
  p.starts = starts.as<const int32_t>();
  p.batch = static_cast<int>(starts.dim(0) - 1);
}

Params read_call(const LaunchCall &call) {
  const TensorView &qkv = call.in(0);
  const int64_t heads = call.attr_int(0);
  if (qkv.ndim != 3 || heads < 1 || qkv.dim(2) % (3 * heads) != 0) call.reject("qkv must be [B, L, 3 * heads * d]");
  if (qkv.dim(0) > INT32_MAX / 2 || qkv.dim(1) > INT32_MAX / 2 || qkv.dim(2) > INT32_MAX / 2) {
    call.reject("qkv is beyond what a kernel counts");
  }
  Params p{};
  p.batch = static_cast<int>(qkv.dim(0));
  p.heads = static_cast<int>(heads);
  p.nq = p.nk = p.split_keys = static_cast<int>(qkv.dim(1));
  p.d = p.dv = static_cast<int>(qkv.dim(2) / (3 * heads));
  p.scale = static_cast<float>(call.attr(1));
  p.causal = call.attr_flag(2);
  p.has_terms = !(p.scale > 0);
  p.lse_unit = kLn2;
  p.splits = 1;
  const int64_t element = static_cast<int64_t>(dtype_size(qkv.dtype));
  p.a = part_of(qkv, p, 0, element);
  p.b = part_of(qkv, p, 1, element);
  p.v = part_of(qkv, p, 2, element);
  read_sequences(call, p);
  return p;
}

void check_rows(const LaunchCall &call, const TensorView &t, const char *what, int64_t parts) {
  const TensorView &qkv = call.in(0);
  const bool ok = t.dtype == qkv.dtype && t.ndim == 3 && t.dim(0) == qkv.dim(0) && t.dim(1) == qkv.dim(1) &&
                  t.dim(2) == qkv.dim(2) / 3 * parts;
  if (!ok) call.reject("%s must be [B, L, %s] in qkv's dtype", what, parts == 1 ? "D" : "3 D");
}

void self_attention(LaunchCall &call) {
  Params p = read_call(call);
  const TensorView &out = call.out(0);
  check_rows(call, out, "the output", 1);
  if (out.numel() == 0) return;
  p.o = target_part(out, p, 0);
  fwd(call, out.dtype, p);
  reject_starts(call, p, out);
}

void self_attention_bwd(LaunchCall &call) {
  const Params p = read_call(call);
  const TensorView &d_out = call.in(3), &out = call.out(0);
  check_rows(call, d_out, "dOut", 1);
  check_rows(call, out, "the output", 3);
  if (out.numel() == 0) return;
  const int64_t rows = call.in(0).dim(0) * call.in(0).dim(1) * p.heads;
  BackwardParams g{};
  g.d_out = part_of(d_out, p, 0, static_cast<int64_t>(dtype_size(d_out.dtype)));
  g.lse2 = call.workspace<float>(rows);
  g.delta = call.workspace<float>(rows);
  g.da = target_part(out, p, 0);
  g.db = target_part(out, p, 1);
  g.dv = target_part(out, p, 2);
  bwd(call, out.dtype, p, g);
  reject_starts(call, p, out);
}

}  // namespace

WM_REGISTER_CUDA_OP(self_attention, self_attention, kContiguous)
WM_REGISTER_CUDA_OP(self_attention_bwd, self_attention_bwd, kContiguous)

}  // namespace wm::cuda::attention
