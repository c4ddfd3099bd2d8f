// Arithmetic ceilings of one thread, measured: what the benches divide by. Both run independent chains of the
// widest multiply-add the tier in use has, on registers alone.
#pragma once

namespace wm {

// f32 fused multiply-adds (two operations each), GFLOP/s. Runs for about `seconds`.
double measure_peak_f32(double seconds);
// bf16 pair dot products (four operations a lane), GFLOP/s; 0 where the tier has none.
double measure_peak_bf16(double seconds);

// One burst of `rounds` rounds; returns a value that depends on all chains so that none is dropped.
using PeakBurst = float (*)(long rounds);
struct PeakBurstInfo {
  PeakBurst burst;
  double operations_per_round;
};
PeakBurstInfo peak_burst_scalar();
PeakBurstInfo peak_burst_avx2();
PeakBurstInfo peak_burst_avx512();
PeakBurstInfo peak_burst_avx512bf16();

}  // namespace wm
