// Which tier and how many parts of K a product of the GEMM family takes, and the order of its launches.
#include "cuda/math/gemm.h"

#include <algorithm>

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

// Tier 3, which the emulator's build leaves out.
bool try_sm90([[maybe_unused]] LaunchCall &call, [[maybe_unused]] const GemmParams &p, [[maybe_unused]] Activation activation) {
#if defined(__CUDACC__)
  if (call.tier() < 3 || !gemm_bf16_sm90_fits(p, activation)) return false;
  gemm_bf16_sm90(call, p, activation);
  return true;
#else
  return false;
#endif
}

}  // namespace

void gemm(LaunchCall &call, const GemmArgs &args) {
  GemmParams p = args.params;
  for (int i = 0; i < p.leads; ++i) {
    if (p.lead_size[i] == 1) p.a.lead_stride[i] = p.b.lead_stride[i] = 0;
  }
  const int64_t batch = gemm_batch(p);
  if (batch == 0 || p.m == 0 || (p.n == 0 && p.row_sums == nullptr)) return;
  split(call, p, args.parts);
  if (args.narrow && call.tier() >= 2 && p.k > 0) {
    const bool sums = p.row_sums != nullptr;
    p.a = gemm_pack(call, p.a, p, p.m, sums);
    p.b = gemm_pack(call, p.b, p, p.n, sums);
    if (!try_sm90(call, p, args.activation)) gemm_bf16(call, p, args.activation);
  } else {
    p.round = args.narrow;
    gemm_f32(call, p, args.activation);
  }
  if (p.parts > 1) gemm_reduce(call, p, args.activation);
}

}  // namespace wm::cuda
