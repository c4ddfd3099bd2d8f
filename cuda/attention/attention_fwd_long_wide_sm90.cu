// Attention forward on Hopper, long form, heads up to 128.
#include "cuda/attention/attention_launch_sm90.cuh"

namespace wm::cuda::attention {

void fwd_long_wide_sm90(LaunchCall &call, const Params &p) {
  if (p.has_terms) launch_long<128, true>(call, p);
  else launch_long<128, false>(call, p);
}

}  // namespace wm::cuda::attention
