#include "native/cpu/simd/peak.h"

#include <chrono>

#include "native/core/cpu_info.h"

namespace wm {

namespace {

constexpr int kChains = 8;

float burst_scalar(long rounds) {
  float x[kChains];
  for (int i = 0; i < kChains; ++i) x[i] = static_cast<float>(i);
  for (long r = 0; r < rounds; ++r) {
    for (float &v : x) v = v * 0.5f + 1.0f;
  }
  float sum = 0.0f;
  for (const float v : x) sum += v;
  return sum;
}

// Best of many short bursts: an interruption spoils one burst, not the result.
double measure(const PeakBurstInfo &info, double seconds) {
  using Clock = std::chrono::steady_clock;
  constexpr long kRounds = 200000;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  double best = 0.0;
  volatile float sink = 0.0f;
  do {
    const auto start = Clock::now();
    sink = info.burst(kRounds);
    const double elapsed = std::chrono::duration<double>(Clock::now() - start).count();
    const double rate = static_cast<double>(kRounds) * info.operations_per_round / elapsed;
    if (rate > best) best = rate;
  } while (Clock::now() < end);
  static_cast<void>(sink);
  return best * 1e-9;
}

}  // namespace

PeakBurstInfo peak_burst_scalar() { return {burst_scalar, 2.0 * kChains}; }

double measure_peak_f32(double seconds) {
#if defined(__x86_64__)
  if (cpu_isa() >= Isa::avx512) return measure(peak_burst_avx512(), seconds);
  if (cpu_isa() >= Isa::avx2) return measure(peak_burst_avx2(), seconds);
#endif
  return measure(peak_burst_scalar(), seconds);
}

double measure_peak_bf16(double seconds) {
#if defined(__x86_64__)
  if (cpu_isa() >= Isa::avx512bf16) return measure(peak_burst_avx512bf16(), seconds);
#endif
  static_cast<void>(seconds);
  return 0.0;
}

}  // namespace wm
