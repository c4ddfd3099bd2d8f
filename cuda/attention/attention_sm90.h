// Launchers of the Hopper tier by form and head size; a file each, since instantiations take long to compile.
#pragma once

#include "cuda/attention/attention_params.h"
#include "cuda/core/tensor_map.h"

namespace wm::cuda::attention {

// Maps over [B, A, N, d] rows in tiles of 64 columns and so many rows.
struct Maps {
  CUtensorMap q, k, v;
};
Maps make_maps(const Params &p, int q_rows, int key_rows);

void fwd_short_sm90(LaunchCall &call, const Params &p);       // heads up to 64, at most 208 keys, 80 with terms
void fwd_long_sm90(LaunchCall &call, const Params &p);        // heads up to 64
void fwd_long_wide_sm90(LaunchCall &call, const Params &p);   // heads up to 128

}  // namespace wm::cuda::attention
