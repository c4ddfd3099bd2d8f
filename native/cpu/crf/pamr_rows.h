// Row kernels of pixel-adaptive mask refinement. Planes are padded in width so that every neighbour of a segment of 16
// pixels is one unaligned load away; rows outside are replaced by the edge row through the offsets.
#pragma once

#include <cstdint>

namespace wm {

constexpr int kPamrMaxDilations = 8;
// A tile holds its halo on both sides, so its memory grows with the square of this.
constexpr int kPamrMaxDilation = 512;
constexpr int kPamrMaxNeighbours = 8 * kPamrMaxDilations;
constexpr int64_t kPamrSegment = 16;

// One image row. Element i of neighbour k of plane c stands at c * plane_stride + offset[k] + i; the pixel itself at
// c * plane_stride + centre + i.
struct PamrRow {
  int neighbours;
  int64_t plane_stride;
  int64_t centre;
  int64_t offset[kPamrMaxNeighbours];
  int64_t first_segment, last_segment;  // the segments to compute
};

struct PamrKernels {
  // weights: [segment, neighbours, 16], the softmax over neighbours of the mean over channels of
  // -|x_n - x_c| / (1e-8 + 0.1 * std), std unbiased over the neighbours and the centre, once a dilation.
  void (*affinity)(const PamrRow &row, const float *guide, int channels, float *weights);
  // to[c] = sum over neighbours of weight * from[c], added in one order whatever the tile.
  void (*mix)(const PamrRow &row, const float *weights, const float *from, float *to, int64_t planes);
};

// The table for cpu_isa().
const PamrKernels &pamr_kernels();

extern const PamrKernels kPamrPortable;
#if defined(__x86_64__)
extern const PamrKernels kPamrAvx2;
extern const PamrKernels kPamrAvx512;
#endif

}  // namespace wm
