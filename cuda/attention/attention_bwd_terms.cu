// Gradients of bias and class masks, of the self column and of the window factor of 'nonly': portable kernels in f32, used
// beside the backward products of any tier. Sums have one owner each and a fixed order; there are no atomics.
// Expected limiter: the scores, which are computed once more (4 Nq Nk d FLOP a head).
#include "cuda/attention/attention_bwd_terms.h"

#include "cuda/attention/attention_bwd_simt.cuh"
#include "cuda/core/reduce.cuh"

namespace wm::cuda::attention {

namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

__device__ void store_any(void *data, DType dtype, int64_t i, float x) {
  if (dtype == DType::bf16) static_cast<bf16 *>(data)[i] = from_float<bf16>(x);
  else if (dtype == DType::f16) static_cast<f16 *>(data)[i] = from_float<f16>(x);
  else static_cast<float *>(data)[i] = x;
}

// The part of the output a block owns, and the ranges it sums over.
struct Share {
  int b0, b1, head0, head1, i0, i1, j0, j1;
  int64_t out;  // of its first element
};

__device__ inline Share share_of_block(const TermGradient &t, const Params &p) {
  const int row_tiles = t.shape[2] == 1 ? 1 : (t.rows + kSimtTile - 1) / kSimtTile;
  const int column_tiles = t.shape[3] == 1 ? 1 : (t.columns + kSimtTile - 1) / kSimtTile;
  int64_t rest = blockIdx.x;
  const int j = static_cast<int>(rest % column_tiles) * kSimtTile;
  rest /= column_tiles;
  const int i = static_cast<int>(rest % row_tiles) * kSimtTile;
  rest /= row_tiles;
  const int head = static_cast<int>(rest % t.shape[1]), b = static_cast<int>(rest / t.shape[1]);
  Share s;
  s.b0 = b;
  s.b1 = t.shape[0] == 1 ? p.batch : b + 1;
  s.head0 = head;
  s.head1 = t.shape[1] == 1 ? p.heads : head + 1;
  s.i0 = i;
  s.i1 = t.shape[2] == 1 ? t.rows : min(t.rows, i + kSimtTile);
  s.j0 = j;
  s.j1 = t.shape[3] == 1 ? t.columns : min(t.columns, j + kSimtTile);
  s.out = ((static_cast<int64_t>(b) * t.shape[1] + head) * t.shape[2] + i) * t.shape[3] + j;
  return s;
}

// The block's tile of sums, over the rows and columns that the output does not have.
__device__ inline void store_share(const TermGradient &t, const Share &share, const float *sums) {
  const bool one_row = t.shape[2] == 1, one_column = t.shape[3] == 1;
  const int rows = one_row ? 1 : share.i1 - share.i0, columns = one_column ? 1 : share.j1 - share.j0;
  for (int e = static_cast<int>(threadIdx.x); e < rows * columns; e += kSimtThreads) {
    const int r = e / columns, c = e % columns;
    float total = 0.0f;
    for (int i = r; i < (one_row ? kSimtTile : r + 1); ++i) {
      for (int j = c; j < (one_column ? kSimtTile : c + 1); ++j) total += sums[i * kSimtPitch + j];
    }
    store_any(t.out, t.dtype, share.out + static_cast<int64_t>(r) * t.shape[3] + c, total);
  }
}

// One block a tile of the output (a whole axis where it has size 1), looping over all that adds to it. 256 threads, 34 KB of
// static shared memory.
template <class T>
__global__ void __launch_bounds__(kSimtThreads, 2) attention_bwd_term_kernel(TermGradient t) {
  __shared__ __align__(16) SimtShared<64> shared;
  const Share share = share_of_block(t, t.params[0]);
  SimtFragment<1> sum, s, dp;
  float lse2[4], delta[4];
  sum.clear();
  for (int softmax = 0; softmax < t.count; ++softmax) {
    const Params &p = t.params[softmax];
    const BackwardParams &g = t.grads[softmax];
    for (int b = share.b0; b < share.b1; ++b) {
      for (int head = share.head0; head < share.head1; ++head) {
        Place at{b, head, 0, 0, p.nq, p.nk, p.nk, 0, (static_cast<int64_t>(b) * p.heads + head) * p.nq};
        if (p.key_lengths != nullptr) at.keys = min(at.keys, max(0, p.key_lengths[b * p.key_length_step]));
        const HeadTensors<T> x(p, g, at);
        for (int i0 = share.i0; i0 < share.i1; i0 += kSimtTile) {
          load_statistics(g, at, i0, lse2, delta);
          for (int j0 = share.j0; j0 < share.j1; j0 += kSimtTile) {
            const int key0 = t.first_key + j0;
            score_tile(shared, p, g, at, x, i0, key0, at.keys, s, dp);
            softmax_gradient(lse2, delta, s, dp);
#pragma unroll
            for (int r = 0; r < 4; ++r) {
              const int i = i0 + s.row(r);
              const RowTerms row = row_terms(p.terms, at, min(i, p.nq - 1), p.nq);
#pragma unroll
              for (int c = 0; c < 4; ++c) {
                const int j = j0 + s.column(c);
                const float weight = t.gaussian && j < t.columns ? gaussian_term(p.terms, row, t.first_key + j) : 1.0f;
                if (i < t.rows && j < t.columns) sum.at(r, c) = fmaf(weight, dp.at(r, c), sum.at(r, c));
              }
            }
          }
        }
      }
    }
  }
  __syncthreads();
  keep_rows_first(shared, sum);
  __syncthreads();
  store_share(t, share, shared.weights);
}

// dSelfKey = scale ds a, dSelfValue = p' dO, with ds = p' (dO v' - delta) and p' = 2^(logit - lse2). A warp a row.
template <class T>
__global__ void self_column_gradient_kernel(Params p, BackwardParams g, T *d_key, T *d_value) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (row >= static_cast<int64_t>(p.batch) * p.heads * p.nq) return;
  Place at{};
  const int64_t i = row % p.nq;
  at.head = static_cast<int>(row / p.nq % p.heads);
  at.b = static_cast<int>(row / p.nq / p.heads);
  const float own = exp2f(p.self_logit[row] - g.lse2[row]), ds = own * (g.self_gradient[row] - g.delta[row]) * p.scale;
  const T *a = head_rows<T>(p.a, at) + i * p.a.row;
  const int64_t out = (at.b * static_cast<int64_t>(p.nq) + i) * p.heads + at.head;
  for (int c = lane; c < p.d; c += kWarp) d_key[out * p.d + c] = from_float<T>(ds * to_float(a[c * p.a.column]));
  for (int c = lane; c < p.dv; c += kWarp) {
    const float up = g.d_out.data == nullptr ? 0.0f : to_float((head_rows<T>(g.d_out, at) + i * g.d_out.row)[c * g.d_out.column]);
    d_value[out * p.dv + c] = from_float<T>(own * up);
  }
}

// out [B, N, A, d] += share * x_i / (N |x_i|), where share = scale dFactor / A times the mean norm of the other side, for
// each side (a: 1, b: 2) that x is. A warp a row.
template <class T>
__global__ void norm_gradient_kernel(T *out, Rows x, const float *norms, const float *d_factor, int64_t rows, int heads, int n,
                                     int d, int sides, float scale) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (row >= rows) return;
  const int64_t i = row % n, head = row / n % heads, b = row / n / heads;
  const T *from = static_cast<const T *>(x.data) + b * x.batch + head * x.head + i * x.row;
  float squares = 0.0f;
  for (int c = lane; c < d; c += kWarp) {
    const float value = to_float(from[c * x.column]);
    squares = fmaf(value, value, squares);
  }
  squares = warp_sum(squares);
  if (squares == 0.0f) return;
  const float *norm = norms + (b * heads + head) * 2;
  const float other = ((sides & 1) != 0 ? norm[1] : 0.0f) + ((sides & 2) != 0 ? norm[0] : 0.0f);
  const float factor = d_factor[b] * scale / static_cast<float>(heads) * other / (sqrtf(squares) * static_cast<float>(n));
  T *to = out + ((b * n + i) * heads + head) * d;
  for (int c = lane; c < d; c += kWarp) to[c] = from_float<T>(to_float(to[c]) + factor * to_float(from[c * x.column]));
}

}  // namespace

void term_gradient(LaunchCall &call, DType type, const TermGradient &t) {
  const int64_t row_tiles = t.shape[2] == 1 ? 1 : (t.rows + kSimtTile - 1) / kSimtTile;
  const int64_t column_tiles = t.shape[3] == 1 ? 1 : (t.columns + kSimtTile - 1) / kSimtTile;
  const int64_t blocks = row_tiles * column_tiles * t.shape[0] * t.shape[1];
  dispatch_float(call, type, [&](auto zero) {
    using T = decltype(zero);
    WM_LAUNCH((attention_bwd_term_kernel<T>), dim3(blocks_for(blocks, 1)), dim3(kSimtThreads), 0, call.stream(), t);
  });
}

void self_column_gradient(LaunchCall &call, DType type, const Params &p, const BackwardParams &g, void *d_key, void *d_value) {
  const int64_t rows = static_cast<int64_t>(p.batch) * p.heads * p.nq;
  dispatch_float(call, type, [&](auto zero) {
    using T = decltype(zero);
    WM_LAUNCH((self_column_gradient_kernel<T>), dim3(blocks_for(rows, kWarps)), dim3(kThreads), 0, call.stream(), p, g,
              static_cast<T *>(d_key), static_cast<T *>(d_value));
  });
}

void norm_gradient(LaunchCall &call, const Call &c, const float *d_factor) {
  const Params &p = c.params[0];
  const TensorView *inputs[3] = {&c.q, &c.k, &c.v};
  const int64_t rows = static_cast<int64_t>(p.batch) * p.heads * p.nq;
  for (int input = 0; input < 3; ++input) {
    const int sides = (source_input(c.source, 0, false) == input ? 1 : 0) | (source_input(c.source, 0, true) == input ? 2 : 0);
    if (sides == 0) continue;
    dispatch_float(call, c.q.dtype, [&](auto zero) {
      using T = decltype(zero);
      WM_LAUNCH((norm_gradient_kernel<T>), dim3(blocks_for(rows, kWarps)), dim3(kThreads), 0, call.stream(),
                call.out(input).as<T>(), rows_of(*inputs[input]), c.mean_norms, d_factor, rows, p.heads, p.nq, p.d, sides,
                c.scale);
    });
  }
}

}  // namespace wm::cuda::attention
