// Launchers of the mma tier by head size; a file each, since instantiations take long to compile.
#pragma once

#include "cuda/attention/attention_params.h"

namespace wm::cuda::attention {

// Heads of more than 64.
void fwd_mma_wide(LaunchCall &call, const Params &p);

// What fits_mma() says for the forward pass, heads up to 128, and gradients in 16-byte rows.
bool fits_bwd_mma(const Params &p, const BackwardParams &g);

void bwd_mma(LaunchCall &call, const Params &p, const BackwardParams &g);
void bwd_mma_wide(LaunchCall &call, const Params &p, const BackwardParams &g);

}  // namespace wm::cuda::attention
