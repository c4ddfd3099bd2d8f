// The f64 product, for gradient checks and exactness, not for speed: the order of summation is that of gemm.h
// (blocks of 768 along k, each from 0 over ascending k, added in order).
#include <algorithm>
#include <cmath>
#include <vector>

#include "native/cpu/math/gemm.h"

namespace wm {

namespace {

double activate(Activation activation, double x) {
  switch (activation) {
    case Activation::quick_gelu: return x / (1.0 + std::exp(-1.702 * x));
    case Activation::gelu: return 0.5 * x * std::erfc(-x * 0.70710678118654752440);
    case Activation::relu: return x < 0.0 ? 0.0 : x;
    case Activation::gelu_tanh: {
      const double inner = 1.5957691216057307117 * (x + 0.044715 * x * x * x);
      return x / (1.0 + std::exp(-inner));
    }
    default: return x;
  }
}

// row[n] = A[m, :] B[:, n]. With consecutive n the inner loop runs along n, else along k; each output sees
// the same order.
void product_row(const GemmArgs &args, const double *a, const double *b, double *row, double *block) {
  const int64_t n = args.n, bk = args.b.k_stride, bn = args.b.row_stride;
  std::fill(row, row + n, 0.0);
  for (int64_t k0 = 0; k0 < args.k; k0 += kGemmBlockK) {
    const int64_t k1 = std::min(args.k, k0 + kGemmBlockK);
    std::fill(block, block + n, 0.0);
    if (bn == 1) {
      for (int64_t k = k0; k < k1; ++k) {
        const double x = a[k * args.a.k_stride];
        const double *from = b + k * bk;
        for (int64_t j = 0; j < n; ++j) block[j] += x * from[j];
      }
    } else {
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0.0;
        for (int64_t k = k0; k < k1; ++k) sum += a[k * args.a.k_stride] * b[j * bn + k * bk];
        block[j] = sum;
      }
    }
    for (int64_t j = 0; j < n; ++j) row[j] += block[j];
  }
}

}  // namespace

void gemm_f64(OpCall &call, const GemmArgs &args, const GemmF64Extras &extras) {
  if (args.m == 0 || args.n == 0 || args.batch == 0) return;
  const int64_t n = args.n;
  call.parallel(args.batch * args.m, 8, [&](int64_t begin, int64_t end) {
    std::vector<double> block(static_cast<size_t>(n));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t batch = i / args.m, m = i % args.m;
      const double *a =
          static_cast<const double *>(args.a.data) + (args.a.offsets ? args.a.offsets[batch] : 0);
      const double *b =
          static_cast<const double *>(args.b.data) + (args.b.offsets ? args.b.offsets[batch] : 0);
      double *row = static_cast<double *>(args.out) + i * n;
      product_row(args, a + m * args.a.row_stride, b, row, block.data());
      for (int64_t j = 0; j < n; ++j) {
        double x = row[j] * args.scale;
        if (extras.column_scale != nullptr) x *= extras.column_scale[batch * n + j];
        if (extras.bias != nullptr) x += extras.bias[j];
        if (args.gate != nullptr) x *= static_cast<const double *>(args.gate)[i * n + j];
        if (args.slope != nullptr) static_cast<double *>(args.slope)[i * n + j] = x;
        x = activate(args.activation, x);
        if (args.residual != nullptr) x += static_cast<const double *>(args.residual)[i * n + j];
        row[j] = x;
      }
    }
  });
}

}  // namespace wm
