// Attention backward, mma tier, for heads up to 64 (attention_bwd_mma.cuh has the kernels).
#include "cuda/attention/attention_bwd_mma.cuh"
#include "cuda/attention/attention_mma.h"

namespace wm::cuda::attention {

void bwd_mma(LaunchCall &call, const Params &p, const BackwardParams &g) {
  const int widest = max(p.d, p.dv);
  if (widest <= 32) launch_bwd_mma<32>(call, p, g);
  else if (widest <= 64) launch_bwd_mma<64>(call, p, g);
  else bwd_mma_wide(call, p, g);
}

}  // namespace wm::cuda::attention
