// Which tier and how many parts of K a product of the GEMM family takes, and the order of its launches.
#include "cuda/math/gemm.h"

#include <algorithm>

#if defined(__CUDACC__)
#include "cuda/core/cublaslt.h"
#endif

namespace wm::cuda {

namespace {

constexpr int64_t kShortestPart = 512, kLongestPart = int64_t{1} << 29, kPartUnit = 64;

// Narrow outputs of deep sums fill a device only if K is cut too; what N and K say must hold for any number of rows, so wide
// outputs, which may have many, are never cut.
int64_t parts_of(const GemmParams &p) {
  return p.leads == 0 && p.n <= 512 && p.k >= 2048 ? std::min<int64_t>(p.k / kShortestPart, 8) : 1;
}

void split(LaunchCall &call, GemmParams &p, int64_t wanted) {
  const int64_t most = std::max<int64_t>(p.k / kShortestPart, 1), least = p.k / kLongestPart + 1;
  const int64_t parts = std::max(std::clamp<int64_t>(wanted > 0 ? wanted : parts_of(p), 1, most), least);
  const int64_t even = (p.k + parts - 1) / parts;
  p.part_k = std::max((even + kPartUnit - 1) / kPartUnit * kPartUnit, kPartUnit);
  p.parts = static_cast<int>(std::max<int64_t>((p.k + p.part_k - 1) / p.part_k, 1));
  if (p.parts == 1) return;
  p.partial = call.workspace<float>(p.parts * gemm_batch(p) * p.m * p.n);
  if (p.row_sums != nullptr) p.row_partial = call.workspace<float>(p.parts * p.m);
}

bool try_sm90(LaunchCall &call, const GemmParams &p, Activation activation) {
  if (call.tier() < 3 || !gemm_bf16_sm90_fits(p, activation)) return false;
  gemm_bf16_sm90(call, p, activation);
  return true;
}

#if defined(__CUDACC__)

// NVIDIA's library, where the environment asks for it. It knows few of the epilogues here: a product that has one stops at its
// f32 sums.
bool try_library(LaunchCall &call, GemmParams p, Activation activation) {
  if (!cublaslt_wanted() || p.row_sums != nullptr || p.leads > 1) return false;
  const GemmEpilogue &e = p.epilogue;
  const bool plain = activation == Activation::none && e.bias == nullptr && e.residual == nullptr && e.gate == nullptr &&
                     e.slope == nullptr;
  const auto operand = [&](const GemmOperand &x) {
    const bool along_k = x.k_stride == 1;
    return LtOperand{x.data, along_k ? x.row_stride : x.k_stride, p.leads == 1 ? x.lead_stride[0] : 0, along_k};
  };
  LtProduct product = {p.m, p.n, p.k, gemm_batch(p), operand(p.a), operand(p.b), e.out, e.out_bf16, e.scale};
  if (!plain) {
    p.parts = 1;
    p.partial = call.workspace<float>(product.batch * p.m * p.n);
    product.out = p.partial;
    product.out_bf16 = false;
    product.scale = 1.0f;
  }
  if (!cublaslt_multiply(product, call.workspace_bytes(kLtWorkspace), call.stream())) return false;
  if (!plain) gemm_reduce(call, p, activation);
  return true;
}

#else

// The emulated device has none.
bool try_library(LaunchCall &, const GemmParams &, Activation) { return false; }

#endif

}  // namespace

void gemm(LaunchCall &call, const GemmArgs &args) {
  GemmParams p = args.params;
  for (int i = 0; i < p.leads; ++i) {
    if (p.lead_size[i] == 1) p.a.lead_stride[i] = p.b.lead_stride[i] = 0;
  }
  const int64_t batch = gemm_batch(p);
  if (batch == 0 || p.m == 0 || (p.n == 0 && p.row_sums == nullptr)) return;
  const bool tensor_cores = args.narrow && call.tier() >= 2 && p.k > 0;
  if (tensor_cores) {
    const bool sums = p.row_sums != nullptr;
    p.a = gemm_pack(call, p.a, p, p.m, sums);
    p.b = gemm_pack(call, p.b, p, p.n, sums);
    if (try_library(call, p, args.activation)) return;
  }
  split(call, p, args.parts);
  if (tensor_cores) {
    if (!try_sm90(call, p, args.activation)) gemm_bf16(call, p, args.activation);
  } else {
    p.round = args.narrow;
    gemm_f32(call, p, args.activation);
  }
  if (p.parts > 1) gemm_reduce(call, p, args.activation);
}

}  // namespace wm::cuda
