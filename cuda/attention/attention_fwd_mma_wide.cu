// Attention forward, mma tier, for heads of 80, 128 and 256.
#include "cuda/attention/attention_fwd_mma.cuh"
#include "cuda/attention/attention_mma.h"

namespace wm::cuda::attention {

void fwd_mma_wide(LaunchCall &call, const Params &p) {
  const int widest = max(p.d, p.dv);
  if (widest <= 80) launch_fwd_mma<80>(call, p);
  else if (widest <= 128) launch_fwd_mma<128>(call, p);
  else launch_fwd_mma<256>(call, p);
}

}  // namespace wm::cuda::attention
