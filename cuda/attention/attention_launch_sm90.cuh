// Launches of the Hopper forms: maps, and a persistent grid, whose size shares out work and changes no bit.
#pragma once

#include "cuda/attention/attention_fwd_long_sm90.cuh"
#include "cuda/attention/attention_fwd_short_sm90.cuh"
#include "cuda/attention/attention_sm90.h"

namespace wm::cuda::attention {

inline dim3 persistent_grid(const LaunchCall &call, int64_t items) {
  const int64_t most = call.multiprocessors();
  return dim3(static_cast<unsigned>(items < most ? items : most));
}

template <int kD, bool kTerms>
void launch_long(LaunchCall &call, const Params &p) {
  using Shape = LongShape<kD, kTerms>;
  const Maps maps = make_maps(p, kSm90Rows, Shape::kKeys);
  const int64_t items = tile_grid(p, p.nq, kSm90Rows, p.splits).x;
  WM_LAUNCH((attention_fwd_long_sm90_kernel<kD, kTerms>), persistent_grid(call, items), dim3(kSm90Threads), Shape::kSharedBytes,
            call.stream(), p, maps.q, maps.k, maps.v, items);
}

template <int kKeys, bool kTerms>
void launch_short(LaunchCall &call, const Params &p) {
  using Shape = ShortShape<kKeys>;
  const Maps maps = make_maps(p, kShortRows, kKeys);
  const int64_t items = tile_grid(p, p.nq, kShortRows, 1).x;
  WM_LAUNCH((attention_fwd_short_sm90_kernel<kKeys, kTerms>), persistent_grid(call, items), dim3(kSm90Threads),
            Shape::kSharedBytes, call.stream(), p, maps.q, maps.k, maps.v, items);
}

}  // namespace wm::cuda::attention
