// Attention forward on Hopper, short form: up to 80 keys (text) and 208 (197 tokens).
#include "cuda/attention/attention_launch_sm90.cuh"

namespace wm::cuda::attention {

void fwd_short_sm90(LaunchCall &call, const Params &p) {
  if (p.has_terms) launch_short<80, true>(call, p);
  else if (p.nk <= 80) launch_short<80, false>(call, p);
  else launch_short<208, false>(call, p);
}

}  // namespace wm::cuda::attention
