// Attention forward on Hopper, long form, heads up to 64.
#include "cuda/attention/attention_launch_sm90.cuh"

namespace wm::cuda::attention {

void fwd_long_sm90(LaunchCall &call, const Params &p) {
  if (p.has_terms) launch_long<64, true>(call, p);
  else launch_long<64, false>(call, p);
}

}  // namespace wm::cuda::attention
