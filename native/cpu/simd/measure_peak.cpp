// measure_peak(): attrs [seconds]; output 0: f64 [2], the f32 multiply-add and the bf16 dot GFLOP/s of one
// thread.
#include <cstring>

#include "native/core/host_op.h"
#include "native/cpu/simd/peak.h"

namespace wm {

static void measure_peak(HostCall &call) {
  const double asked = call.attrs.empty() ? 0.2 : call.attrs[0];
  if (!(asked > 0.0 && asked <= 60.0))
    fail(Status::option, "measure_peak: seconds must be in (0, 60], got %g", asked);
  const double rates[2] = {measure_peak_f32(asked / 2), measure_peak_bf16(asked / 2)};
  call.outputs.emplace_back(sizeof rates);
  std::memcpy(call.outputs.back().data(), rates, sizeof rates);
}
WM_REGISTER_HOST_OP(measure_peak, measure_peak)

}  // namespace wm
