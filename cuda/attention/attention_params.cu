// Reads the attributes and checks the shapes of attention and attention_bwd; small kernels make what the terms need before
// the products start: gaussian tables, window factors, rescued rows, logits of the self column. All are read many times
// and made once a call; each runs a few microseconds at most.
#include <climits>

#include "cuda/attention/attention_terms.cuh"
#include "cuda/core/reduce.cuh"

namespace wm::cuda::attention {

namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
// gaussian_term finds grid rows by a product that is exact up to here.
constexpr int64_t kMaxGridKeys = int64_t{1} << 21;

void check_shape(const LaunchCall &call, const char *what, const TensorView &t, int64_t a, int64_t b, int64_t c, int64_t d) {
  if (t.ndim != 4 || t.shape[0] != a || t.shape[1] != b || t.shape[2] != c || t.shape[3] != d) {
    call.reject("%s must be [%lld, %lld, %lld, %lld]", what, static_cast<long long>(a), static_cast<long long>(b),
                static_cast<long long>(c), static_cast<long long>(d));
  }
}

// A term's view, steps of repeated axes 0.
Broadcast broadcast_of(const LaunchCall &call, const char *what, const TensorView &t) {
  if (t.dtype != DType::f32 && t.dtype != DType::bf16 && t.dtype != DType::f16) {
    call.reject("%s must be f32, bf16 or f16 on this device, got %s", what, dtype_name(t.dtype));
  }
  Broadcast view{t.data, t.dtype, {}};
  for (int axis = 0; axis < 4; ++axis) view.step[axis] = t.shape[axis] == 1 ? 0 : t.stride[axis];
  return view;
}

int size_of(const LaunchCall &call, const char *what, int64_t n) {
  if (n < 0 || n > INT_MAX / 2) call.reject("%s %lld is beyond what a kernel counts", what, static_cast<long long>(n));
  return static_cast<int>(n);
}

// out [2 h - 1 + 2 w - 1] (=): g(t) = exp(-t^2 / (2 sigma^2)) for t = 1 - h .. h - 1, then for t = 1 - w .. w - 1.
__global__ void gaussian_table_kernel(float *out, int h, int w, float exponent) {
  const int at = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), rows = 2 * h - 1;
  if (at >= rows + 2 * w - 1) return;
  const float t = static_cast<float>(at < rows ? at - (h - 1) : at - rows - (w - 1));
  out[at] = exp2f(-t * t * exponent);
}

// norms [B, A, 2] (=): mean norm of the rows of a and of b. One block a value; a warp a row.
template <class T>
__global__ void mean_norm_kernel(float *norms, Rows a, Rows b, int heads, int n, int d) {
  __shared__ float partial[kWarp];
  const int which = static_cast<int>(blockIdx.x % 2), head = static_cast<int>(blockIdx.x / 2) % heads;
  const int image = static_cast<int>(blockIdx.x / 2) / heads;
  const Rows &x = which == 0 ? a : b;
  const T *rows = static_cast<const T *>(x.data) + image * x.batch + head * x.head;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  float total = 0.0f;
  for (int i = warp; i < n; i += kWarps) {
    float squares = 0.0f;
    for (int c = lane; c < d; c += kWarp) {
      const float value = to_float(rows[i * x.row + c * x.column]);
      squares = fmaf(value, value, squares);
    }
    total += sqrtf(warp_sum(squares));
  }
  total = block_sum(lane == 0 ? total : 0.0f, partial);
  if (threadIdx.x == 0) norms[blockIdx.x] = n == 0 ? 0.0f : total / static_cast<float>(n);
}

// factor [B] (=): scale * mean over heads of mean|a| mean|b|, the mean of |a||b| over all pairs of a window.
__global__ void window_factor_kernel(float *factor, const float *norms, int batch, int heads, float scale) {
  const int b = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (b >= batch) return;
  float sum = 0.0f;
  for (int head = 0; head < heads; ++head) {
    const int64_t at = (static_cast<int64_t>(b) * heads + head) * 2;
    sum += norms[at] * norms[at + 1];
  }
  factor[b] = scale * sum / static_cast<float>(heads);
}

// rescued [B, Nq] (=): 1 where the bits block every key that length and causality leave. A warp a row.
__global__ void rescued_rows_kernel(uint8_t *rescued, Params p) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (row >= static_cast<int64_t>(p.batch) * p.nq) return;  // whole warps, and no block barrier follows
  const int b = static_cast<int>(row / p.nq), i = static_cast<int>(row % p.nq);
  int limit = p.causal ? min(p.nk, i + 1) : p.nk;
  if (p.key_lengths != nullptr) limit = min(limit, max(0, p.key_lengths[b * p.key_length_step]));
  const uint8_t *bits = p.terms.mask + b * p.terms.mask_step[0] + i * p.terms.mask_step[1];
  bool free = false;
  for (int byte = lane; byte * 8 < limit; byte += kWarp) {
    const unsigned used = limit - byte * 8 < 8 ? (1u << (limit - byte * 8)) - 1 : 0xffu;
    free = free || (~static_cast<unsigned>(bits[byte * p.terms.mask_step[2]]) & used) != 0;
  }
  const bool any = __any_sync(kFullMask, free) != 0;
  if (lane == 0) rescued[row] = any ? 0 : 1;
}

// out [B, A, N] (=): factor * x_i . y_i of two tensors' rows. A warp a row.
template <class T>
__global__ void row_products_kernel(float *out, Rows x, Rows y, int64_t rows, int heads, int n, int width, float factor) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (row >= rows) return;
  const int64_t i = row % n, head = row / n % heads, b = row / n / heads;
  const T *left = static_cast<const T *>(x.data) + b * x.batch + head * x.head + i * x.row;
  const T *right = static_cast<const T *>(y.data) + b * y.batch + head * y.head + i * y.row;
  float sum = 0.0f;
  for (int c = lane; c < width; c += kWarp) sum = fmaf(to_float(left[c * x.column]), to_float(right[c * y.column]), sum);
  sum = warp_sum(sum);
  if (lane == 0) out[row] = sum * factor;
}

float *row_products(LaunchCall &call, DType dtype, const Rows &x, const Rows &y, const Params &p, int width, float factor) {
  const int64_t rows = static_cast<int64_t>(p.batch) * p.heads * p.nq;
  float *out = call.workspace<float>(rows);
  dispatch_float(call, dtype, [&](auto zero) {
    using T = decltype(zero);
    WM_LAUNCH((row_products_kernel<T>), dim3(blocks_for(rows, kWarps)), dim3(kThreads), 0, call.stream(), out, x, y, rows,
              p.heads, p.nq, width, factor);
  });
  return out;
}

void read_grid(LaunchCall &call, Call &c, Params &p) {
  const double sigma = call.attr(3);
  if (!(sigma > 0)) return;
  const int64_t h = call.attr_int(4), w = call.attr_int(5);
  if (p.nq != p.nk || h < 1 || w < 1 || h > p.nk || w > p.nk || h * w > p.nk || p.nk >= kMaxGridKeys) {
    call.reject("grid %lld x %lld does not fit %d tokens", static_cast<long long>(h), static_cast<long long>(w), p.nk);
  }
  Terms &t = p.terms;
  t.grid_h = static_cast<int>(h);
  t.grid_w = static_cast<int>(w);
  t.lead = static_cast<int>(p.nk - h * w);
  t.inverse_w = 1.0f / static_cast<float>(w);
  const int entries = 2 * t.grid_h - 1 + 2 * t.grid_w - 1;
  float *table = call.workspace<float>(entries);
  WM_LAUNCH(gaussian_table_kernel, dim3(blocks_for(entries, kThreads)), dim3(kThreads), 0, call.stream(), table, t.grid_h,
            t.grid_w, static_cast<float>(1.4426950408889634 / (2 * sigma * sigma)));
  t.gy = table;
  t.gx = table + 2 * t.grid_h - 1;
  if (!c.nonly) return;
  float *norms = call.workspace<float>(int64_t{2} * p.batch * p.heads), *factor = call.workspace<float>(p.batch);
  dispatch_float(call, c.q.dtype, [&](auto zero) {
    using T = decltype(zero);
    WM_LAUNCH((mean_norm_kernel<T>), dim3(blocks_for(int64_t{2} * p.batch * p.heads, 1)), dim3(kThreads), 0, call.stream(),
              norms, p.a, p.b, p.heads, p.nq, p.d);
  });
  WM_LAUNCH(window_factor_kernel, dim3(blocks_for(p.batch, kThreads)), dim3(kThreads), 0, call.stream(), factor, norms,
            p.batch, p.heads, c.scale);
  c.mean_norms = norms;
  t.factor = factor;
}

void read_class_tokens(const LaunchCall &call, Call &c, Params &p) {
  const int64_t mode = call.attr_int(9), copies = call.attr_int(8);
  if (mode < 0 || mode > 2) call.reject("classMode %lld is none of 0..2", static_cast<long long>(mode));
  if (mode == 0) return;
  const int64_t patches = p.nk - copies - (mode == 2 ? 1 : 0);
  if (p.nq != p.nk || copies < 1 || patches < 0 || !call.has(5)) call.reject("class tokens do not fit the sequence");
  c.class_masks = call.in(5);
  const int64_t heads = c.class_masks.ndim == 4 && c.class_masks.shape[1] == 1 ? 1 : p.heads;
  check_shape(call, "classMasks", c.class_masks, p.batch, heads, copies, patches);
  p.terms.class_masks = broadcast_of(call, "classMasks", c.class_masks);
  p.terms.class_tokens = static_cast<int>(copies);
  p.terms.class_mode = static_cast<ClassMode>(mode);
}

void read_mask(LaunchCall &call, Params &p) {
  if (!call.has(4)) return;
  const TensorView &mask = call.in(4);
  const bool ok = mask.ndim == 3 && mask.shape[0] == p.batch && mask.shape[1] == p.nq && mask.shape[2] == (p.nk + 7) / 8 &&
                  (mask.dtype == DType::u8 || mask.dtype == DType::boolean);
  if (!ok) call.reject("mask must be u8 [B, Nq, ceil(Nk / 8)]");
  p.terms.mask = mask.as<const uint8_t>();
  for (int axis = 0; axis < 3; ++axis) p.terms.mask_step[axis] = mask.stride[axis];
  if (!call.attr_flag(7)) return;
  const int64_t rows = static_cast<int64_t>(p.batch) * p.nq;
  uint8_t *rescued = call.workspace<uint8_t>(rows);
  WM_LAUNCH(rescued_rows_kernel, dim3(blocks_for(rows, kWarps)), dim3(kThreads), 0, call.stream(), rescued, p);
  p.terms.rescued = rescued;
}

void read_self_column(LaunchCall &call, Call &c, Params &p) {
  if (call.has(6) != call.has(7)) call.reject("selfKey and selfValue come together");
  if (!call.has(6)) return;
  if (c.source == 4) call.reject("a self column needs a single softmax");
  c.self_key = call.in(6);
  c.self_value = call.in(7);
  check_shape(call, "selfKey", c.self_key, p.batch, p.heads, p.nq, p.d);
  check_shape(call, "selfValue", c.self_value, p.batch, p.heads, p.nq, p.dv);
  if (c.self_key.dtype != c.q.dtype || c.self_value.dtype != c.q.dtype) call.reject("selfKey and selfValue need the dtype of q");
  p.self_logit = row_products(call, c.q.dtype, p.a, rows_of(c.self_key), p, p.d, c.scale * kLog2e);
  p.self_value = rows_of(c.self_value);
}

void read_tensors(const LaunchCall &call, Call &c, Params &p) {
  c.q = call.in(0);
  c.k = call.in(1);
  c.v = call.in(2);
  if (c.q.ndim != 4 || c.k.ndim != 4 || c.v.ndim != 4) call.reject("q, k and v must be [B, heads, N, d]");
  if (c.k.dtype != c.q.dtype || c.v.dtype != c.q.dtype) call.reject("q, k and v need one dtype");
  check_shape(call, "k", c.k, c.q.shape[0], c.q.shape[1], c.k.shape[2], c.q.shape[3]);
  check_shape(call, "v", c.v, c.q.shape[0], c.q.shape[1], c.k.shape[2], c.v.shape[3]);
  p.batch = size_of(call, "B", c.q.shape[0]);
  p.heads = size_of(call, "heads", c.q.shape[1]);
  p.nq = size_of(call, "Nq", c.q.shape[2]);
  p.nk = size_of(call, "Nk", c.k.shape[2]);
  p.d = size_of(call, "d", c.q.shape[3]);
  p.dv = size_of(call, "dv", c.v.shape[3]);
  const bool square = p.nq == p.nk;
  if (c.source < 0 || c.source > 4) call.reject("source %d is none of 0..4", c.source);
  if ((c.source != 0 || p.causal) && !square) call.reject("this source, or causality, needs as many queries as keys");
  if (c.source == 3 && p.d != p.dv) call.reject("source vv needs v of the head size of q");
}

void read_lengths(const LaunchCall &call, Params &p) {
  if (!call.has(8)) return;
  const TensorView &lengths = call.in(8);
  if (lengths.ndim != 1 || lengths.shape[0] != p.batch || lengths.dtype != DType::i32) call.reject("keyLengths must be i32 [B]");
  p.key_lengths = lengths.as<const int32_t>();
  p.key_length_step = lengths.stride[0];
}

}  // namespace

Rows rows_of(const TensorView &t) {
  // The stride of an axis of size 1 says nothing, and could keep a call from the tiers that need aligned rows.
  const auto step = [&](int axis) { return t.shape[axis] == 1 ? 0 : t.stride[axis]; };
  return {t.data, step(0), step(1), step(2), t.stride[3]};
}

Target target_of(void *data, int64_t n, int64_t heads, int64_t width, bool wide) {
  return {data, n * heads * width, width, heads * width, wide};
}

Rows rows_of(const Target &t) { return {t.data, t.batch, t.head, t.row, 1}; }

int source_input(int source, int softmax, bool keys) {
  switch (source) {
    case 0: return keys ? 1 : 0;
    case 1: return 1;
    case 2: return 0;
    case 3: return 2;
    default: return softmax;
  }
}

Call make_call(LaunchCall &call) {
  Call c{};
  Params p{};
  c.source = static_cast<int>(call.attr_int(0));
  c.scale = static_cast<float>(call.attr(1));
  p.causal = call.attr_flag(2);
  c.nonly = call.attr_flag(6);
  read_tensors(call, c, p);
  const TensorView *inputs[3] = {&c.q, &c.k, &c.v};
  p.a = rows_of(*inputs[source_input(c.source, 0, false)]);
  p.b = rows_of(*inputs[source_input(c.source, 0, true)]);
  p.v = rows_of(c.v);
  // A logit of 'nonly' has no product in it.
  p.scale = c.nonly ? 0.0f : c.scale;
  p.splits = 1;
  p.split_keys = p.nk;
  p.lse_unit = kLn2;
  if (c.nonly && (!(call.attr(3) > 0) || c.source == 4 || call.has(6) || call.has(8))) {
    call.reject("nonly needs a gaussian term and takes neither two softmaxes, a self column nor key lengths");
  }
  read_lengths(call, p);
  read_grid(call, c, p);
  if (call.has(3)) {
    c.bias = call.in(3);
    const int64_t full[4] = {p.batch, p.heads, p.nq, p.nk};
    bool ok = c.bias.ndim == 4;
    for (int i = 0; ok && i < 4; ++i) ok = c.bias.shape[i] == full[i] || c.bias.shape[i] == 1;
    if (!ok) call.reject("bias must be [B|1, heads|1, Nq|1, Nk|1]");
    p.terms.bias = broadcast_of(call, "bias", c.bias);
  }
  read_class_tokens(call, c, p);
  read_mask(call, p);
  read_self_column(call, c, p);
  const Terms &t = p.terms;
  p.has_terms = t.gy != nullptr || t.bias.data != nullptr || t.mask != nullptr || t.class_mode != ClassMode::none || !(p.scale > 0);
  c.count = c.source == 4 ? 2 : 1;
  c.params[0] = c.params[1] = p;
  if (c.count == 2) c.params[1].a = c.params[1].b = rows_of(c.k);
  return c;
}

float *self_gradients(LaunchCall &call, const Call &c, const Rows &d_out) {
  const Params &p = c.params[0];
  return row_products(call, c.q.dtype, d_out, p.self_value, p, p.dv, 1.0f);
}

}  // namespace wm::cuda::attention
