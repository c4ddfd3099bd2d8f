// Attention backward, mma tier, for heads of 80 and 128.
#include "cuda/attention/attention_bwd_mma.cuh"
#include "cuda/attention/attention_mma.h"

namespace wm::cuda::attention {

void bwd_mma_wide(LaunchCall &call, const Params &p, const BackwardParams &g) {
  if (max(p.d, p.dv) <= 80) launch_bwd_mma<80>(call, p, g);
  else launch_bwd_mma<128>(call, p, g);
}

}  // namespace wm::cuda::attention
