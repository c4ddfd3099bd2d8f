// linear_bwd_weight(dz [..., N], x [..., K]; bf16) = dW [N, K], db [N]:
//   dW = sum over rows of dz^T x,  db = sum over rows of dz;  both f32 (f64 for f64), all elements written.
// With `bf16` operands are f32 or bf16 each and rounded to bf16; else they share one dtype.
// Where the CPU multiplies pairs of bf16, bands of rows are paired up once for each part of N and K and multiplied in
// register tiles, each element being one chain over ascending rows: neither parts nor threads change a bit.
#include <algorithm>

#include "native/core/cpu_info.h"
#include "native/core/thread_pool.h"
#include "native/cpu/math/gemm.h"
#include "native/cpu/math/linear_bwd_weight.h"
#include "native/cpu/math/rows.h"

namespace wm {

namespace {

// Rows of a band: two operands of 128 columns then take 128 KiB of the second cache level, a tile's share 28 KiB of the first.
constexpr int64_t kBandRows = 256;
constexpr int64_t kPartColumns = 128;

constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Parts of nearly equal width, a multiple of 16, that all threads share evenly.
int64_t part_width(int64_t columns, int64_t threads) {
  const int64_t parts = round_up((columns + kPartColumns - 1) / kPartColumns, threads);
  return std::max<int64_t>(16, round_up((columns + parts - 1) / parts, 16));
}

// Step between rows of pairs: an odd number of cache lines, so that a column of them spreads over all cache sets.
int64_t pair_width(int64_t columns) { return (round_up(columns, 16) / 16 | 1) * 16; }

struct Shape {
  int64_t rows, n, k;
};

// dz and x in bf16.
void by_pairs(OpCall &call, const WeightGradKernels &kernels, const Shape &s, const bf16 *dz, const bf16 *x) {
  float *weight = call.out(0).as<float>(), *bias = call.out(1).as<float>();
  // The wider side is cut: the other is paired up once for each part.
  const int64_t threads = ThreadPool::instance().size(), whole = 4 * kPartColumns;
  const int64_t n_width = s.n >= s.k ? part_width(s.n, threads) : std::min(round_up(s.n, 16), whole);
  const int64_t k_width = s.n >= s.k ? std::min(round_up(s.k, 16), whole) : part_width(s.k, threads);
  const int64_t n_parts = (s.n + n_width - 1) / n_width, k_parts = (s.k + k_width - 1) / k_width;
  call.parallel(n_parts * k_parts, 1, [&](int64_t part, int64_t) {
    const int64_t n0 = part / k_parts * n_width, k0 = part % k_parts * k_width;
    const int64_t n = std::min(n_width, s.n - n0), k = std::min(k_width, s.k - k0);
    const int64_t n_pad = round_up(n, 16), k_pad = round_up(k, 16);
    const int64_t left_width = pair_width(n), right_width = pair_width(k);
    Scratch<uint32_t> left(kBandRows / 2 * left_width), right(kBandRows / 2 * right_width);
    Scratch<float> sums(n_pad * k_pad), column_sums(n_pad);
    std::fill(sums.data(), sums.data() + n_pad * k_pad, 0.0f);
    std::fill(column_sums.data(), column_sums.data() + n_pad, 0.0f);
    for (int64_t r = 0; r < s.rows; r += kBandRows) {
      call.check_cancelled();
      const int64_t rows = std::min(kBandRows, s.rows - r), pairs = (rows + 1) / 2;
      kernels.pair_rows(dz + r * s.n + n0, s.n, rows, n, left_width, left.data());
      kernels.pair_rows(x + r * s.k + k0, s.k, rows, k, right_width, right.data());
      kernels.multiply(left.data(), left_width, n, right.data(), right_width, k, pairs, sums.data(), k_pad);
      if (k0 == 0) kernels.add_columns(left.data(), left_width, n, pairs, column_sums.data());
    }
    for (int64_t i = 0; i < n; ++i) {
      std::copy(sums.data() + i * k_pad, sums.data() + i * k_pad + k, weight + (n0 + i) * s.k + k0);
    }
    if (k0 == 0) std::copy(column_sums.data(), column_sums.data() + n, bias + n0);
  });
}

const bf16 *as_bf16(OpCall &call, const TensorView &view) {
  if (view.dtype == DType::bf16) return view.as<bf16>();
  bf16 *copy = call.workspace<bf16>(view.numel());
  call.parallel(view.numel(), kElementGrain,
                [&](int64_t begin, int64_t end) { narrow(view.as<float>() + begin, copy + begin, end - begin); });
  return copy;
}

// Sums of the columns of dz, over parts of rows cut by their number alone, added in order.
template <class T>
void column_sums(OpCall &call, const Shape &s, const T *dz, ComputeType<T> *out) {
  using C = ComputeType<T>;
  const int64_t share = std::max<int64_t>(16, (s.rows + 63) / 64), parts = (s.rows + share - 1) / share;
  C *partial = call.workspace<C>(parts * s.n + 1);
  const auto add = vector_ops<C>().binary[static_cast<int>(BinaryOp::add)];
  call.parallel(s.rows, share, [&](int64_t begin, int64_t end) {
    C *sum = partial + begin / share * s.n;
    std::fill(sum, sum + s.n, C(0));
    Scratch<C> wide(s.n);
    for (int64_t r = begin; r < end; ++r) add(sum, 1, row_in(dz + r * s.n, wide.data(), s.n), 1, sum, s.n);
  });
  std::fill(out, out + s.n, C(0));
  for (int64_t p = 0; p < parts; ++p) add(out, 1, partial + p * s.n, 1, out, s.n);
}

void by_gemm(OpCall &call, const Shape &s, bool pairs) {
  const TensorView &dz = call.in(0), &x = call.in(1);
  GemmArgs args;
  args.m = s.n;
  args.n = s.k;
  args.k = s.rows;
  args.a.data = dz.data;
  args.a.dtype = dz.dtype;
  args.a.row_stride = 1;
  args.a.k_stride = s.n;
  args.b.data = x.data;
  args.b.dtype = x.dtype;
  args.b.row_stride = 1;
  args.b.k_stride = s.k;
  args.pairs = pairs;
  args.out = call.out(0).data;
  args.out_dtype = call.out(0).dtype;
  if (dz.dtype == DType::f64) {
    gemm_f64(call, args, {});
    return column_sums(call, s, dz.as<double>(), call.out(1).as<double>());
  }
  gemm(call, args);
  if (dz.dtype == DType::bf16) return column_sums(call, s, dz.as<bf16>(), call.out(1).as<float>());
  column_sums(call, s, dz.as<float>(), call.out(1).as<float>());
}

void linear_bwd_weight(OpCall &call) {
  const TensorView &dz = call.in(0), &x = call.in(1);
  const auto narrow_type = [](DType t) { return t == DType::f32 || t == DType::bf16; };
  if (dz.ndim < 1 || x.ndim != dz.ndim) call.reject("dz must be [..., N] and x [..., K]");
  Shape s{1, dz.dim(-1), x.dim(-1)};
  for (int i = 0; i + 1 < dz.ndim; ++i) s.rows *= dz.shape[i];
  const bool f64 = dz.dtype == DType::f64 && x.dtype == DType::f64;
  const bool pairs = call.attr_flag(0) || dz.dtype == DType::bf16;
  if (!f64 && !(narrow_type(dz.dtype) && narrow_type(x.dtype) && (call.attr_flag(0) || dz.dtype == x.dtype))) {
    call.reject("cannot multiply %s by %s", dtype_name(dz.dtype), dtype_name(x.dtype));
  }
  const DType type = f64 ? DType::f64 : DType::f32;
  if (call.out(0).numel() != s.n * s.k || call.out(1).numel() != s.n || call.out(0).dtype != type ||
      call.out(1).dtype != type || x.numel() != s.rows * s.k) {
    call.reject("the outputs do not fit dz and x");
  }
#if defined(__x86_64__)
  if (!f64 && pairs && cpu_isa() >= Isa::avx512bf16) {
    return by_pairs(call, weight_grad_kernels_avx512bf16(), s, as_bf16(call, dz), as_bf16(call, x));
  }
#endif
  by_gemm(call, s, pairs);
}

}  // namespace

WM_REGISTER_CPU_OP(linear_bwd_weight, linear_bwd_weight, kContiguous)

}  // namespace wm
