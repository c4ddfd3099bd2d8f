// Permutohedral lattice of one filter term (dense-crf.md sections 3 to 6): every pixel is a weighted mean of the d+1
// corners of a simplex; filtering is splat to the corners, a blur along d+1 axes, slice back.
//
// Storage follows the chunks of PixelOrder. A pixel names its corners by a 16-bit number local to its chunk; the chunk
// maps those to vertices. A splat adds a chunk's pixels to rows of its own ("partial rows", all chunks one after
// another), and a vertex then sums its partial rows in chunk order: no atomics, same bits for any thread count.
#pragma once

#include <cstdint>
#include <memory>

#include "native/core/crf_spec.h"
#include "native/core/op.h"
#include "native/cpu/crf/crf_buffer.h"
#include "native/cpu/crf/crf_pixels.h"

namespace wm {

struct Lattice {
  int corners = 0;             // d + 1
  int64_t pixels = 0;
  int64_t vertices = 0;
  ArenaArray<uint16_t> local;           // [N, d+1] corner of a pixel, counted inside its chunk
  ArenaArray<float> weight_in;          // [N, d+1] splat: barycentric weight times the norm on the input side
  ArenaArray<float> weight_out;         // [N, d+1] slice, without alpha; empty where it equals weight_in
  ArenaArray<uint32_t> local_start;     // [chunks + 1] first partial row of a chunk
  ArenaArray<uint32_t> vertex_of;       // [partial rows] vertex of a partial row
  ArenaArray<uint32_t> part_start;      // [M + 1] first entry of a vertex in `part`
  ArenaArray<uint32_t> part;            // [partial rows] partial rows by vertex, ascending
  ArenaArray<uint32_t> neighbour;       // [d+1, M, 2] vertices at -1 and +1 along an axis; M: none

  int64_t partial_rows() const { return vertex_of.size(); }
  const float *splat_weight() const { return weight_in.data(); }
  const float *slice_weight() const { return weight_out.size() > 0 ? weight_out.data() : weight_in.data(); }
  // 1 / (1 + 2^-d), the gain of the blur.
  float alpha() const { return 1.0f / (1.0f + 1.0f / static_cast<float>(1 << (corners - 1))); }
  size_t bytes() const;
};

// image: u8 [H, W, 3], read where spec.dims is 5. A position-only lattice comes from a small cache, as it depends on
// the size and the scales alone. Throws Status::option where the scales make coordinates too large for f32.
std::shared_ptr<const Lattice> make_lattice(const OpCall &call, const PixelOrder &order, const uint8_t *image,
                                            const CrfSpec &spec);

}  // namespace wm
