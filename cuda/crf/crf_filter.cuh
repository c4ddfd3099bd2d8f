// The lattice of one filter term as it lies in device memory, and the filter (dense-crf.md section 5): splat, a sum over
// the list of each vertex; blur along d+1 axes. The slice is part of the update (crf_rows.cuh).
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "cuda/core/op.h"

namespace wm::cuda {

// A vertex that gathers from a pixel, or a pixel from a vertex.
struct alignas(8) CrfLink {
  uint32_t index;
  float weight;
};

// The lists of most vertices have one to a few dozen entries, those of a flat picture thousands: lists beyond
// kCrfPiece are summed in pieces of that many entries, which are then added up.
constexpr int kCrfPiece = 32;
struct CrfPiece {
  uint32_t begin, end;  // entries
};
struct CrfLongList {
  uint32_t vertex, first_piece, pieces;
};
constexpr int kCrfVertices = 0, kCrfPieces = 1, kCrfLongLists = 2, kCrfCounts = 4;

// Device memory. E = pixels * corners; V is the bound of the vertices, M <= V their number (counts[kCrfVertices]).
struct CrfLattice {
  int corners;
  int64_t pixels, entries, capacity;
  CrfLink *corner;         // [N, d+1] of a pixel: vertex, weight of the slice without alpha
  CrfLink *list;           // [E] pixels of vertex v, weight of the splat: entries start[v] to start[v+1]
  uint32_t *start;         // [V + 1]
  uint2 *neighbour;        // [d+1, V] one more than the vertices at -1 and +1 along an axis; 0: none
  uint32_t *counts;        // [kCrfCounts]
  CrfPiece *piece;
  CrfLongList *long_list;

  // Sets the sizes, `volume` being a bound of the vertices; the bytes that all arrays take.
  uint64_t resize(int corners_of_pixel, int64_t pixel_count, int64_t volume) {
    corners = corners_of_pixel;
    pixels = pixel_count;
    entries = pixels * corners;
    capacity = std::min(entries, volume);
    return place(nullptr);
  }
  // Sets the arrays to one piece of memory; the bytes behind them.
  uint64_t place(void *memory) {
    const auto base = reinterpret_cast<uintptr_t>(memory);  // null where only the bytes are asked for
    uintptr_t at = 0;
    const auto take = [&](auto &array, int64_t count) {
      array = reinterpret_cast<std::remove_reference_t<decltype(array)>>(base + at);
      at += (static_cast<uint64_t>(count) * sizeof *array + 255) / 256 * 256;
    };
    take(corner, entries);
    take(list, entries);
    take(start, capacity + 1);
    take(neighbour, capacity * corners);
    take(counts, kCrfCounts);
    take(piece, max_pieces());
    take(long_list, entries / kCrfPiece + 1);
    return at;
  }

  // A list of n > 32 entries has at most n/16 pieces.
  int64_t max_pieces() const { return entries / 16 + 1; }
  // 1 / (1 + 2^-d), the gain of the blur.
  float alpha() const { return 1.0f / (1.0f + 1.0f / static_cast<float>(1 << (corners - 1))); }
};

// Threads that work on rows of `quads` vectors: item, vector of the row, and the step to the next item. One division a
// thread, whatever the number of items.
struct CrfLane {
  int64_t item, step;
  int quad;
  bool active;

  __device__ __forceinline__ explicit CrfLane(int quads) {
    const unsigned thread = blockIdx.x * blockDim.x + threadIdx.x, threads = gridDim.x * blockDim.x;
    const unsigned per_sweep = threads / static_cast<unsigned>(quads), at = thread / static_cast<unsigned>(quads);
    item = at;
    step = per_sweep;
    quad = static_cast<int>(thread - at * static_cast<unsigned>(quads));
    active = at < per_sweep;
  }
};

constexpr int kCrfThreads = 256;

// Blocks for work whose amount only the device knows: enough to fill it, and no more than the bound needs. At least
// `quads` threads.
inline dim3 crf_grid(const LaunchCall &call, int64_t bound, int quads) {
  const int64_t most = static_cast<int64_t>(call.multiprocessors()) * 8, least = (quads + kCrfThreads - 1) / kCrfThreads;
  const int64_t blocks = (bound * quads + kCrfThreads - 1) / kCrfThreads;
  return dim3(static_cast<unsigned>(std::max(least, std::min(most, blocks))));
}

namespace {

// Sums of the lists: rows[v] (=) for short lists, parts (=) for the pieces of long ones. x [N, stride] holds W channels
// a vector; null: ones. A thread sums one vector of one list in list order; no shared memory.
template <int W>
__global__ void __launch_bounds__(kCrfThreads)
    crf_splat_kernel(CrfLattice lattice, const float *__restrict__ x, int64_t stride, int quads, float *rows,
                     float *parts) {
  const CrfLane lane(quads);
  if (!lane.active) return;
  const int64_t pieces = lattice.counts[kCrfPieces], items = pieces + lattice.counts[kCrfVertices];
  for (int64_t item = lane.item; item < items; item += lane.step) {
    uint32_t begin, end;
    float *to;
    if (item < pieces) {  // the longest first
      begin = lattice.piece[item].begin;
      end = lattice.piece[item].end;
      to = parts + item * quads * W;
    } else {
      begin = lattice.start[item - pieces];
      end = lattice.start[item - pieces + 1];
      if (end - begin > kCrfPiece) continue;
      to = rows + (item - pieces) * quads * W;
    }
    Vector<float, W> sum = {};
#pragma unroll 4
    for (uint32_t k = begin; k < end; ++k) {
      const CrfLink link = lattice.list[k];
      if (x == nullptr) {
        for (int w = 0; w < W; ++w) sum.value[w] += link.weight;
      } else {
        const Vector<float, W> q = load_vector<float, W>(x + link.index * stride + lane.quad * W);
        for (int w = 0; w < W; ++w) sum.value[w] = fmaf(link.weight, q.value[w], sum.value[w]);
      }
    }
    store_vector(to + lane.quad * W, sum);
  }
}

// rows[v] (=) the sum of the pieces of a long list: 16 threads a vector take every sixteenth piece, the first of them
// adds their sums in order. 256 threads a block, 16 vectors at a time, 16 * 16 * W * 4 bytes of shared memory.
constexpr int kCrfSlices = 16, kCrfVectors = kCrfThreads / kCrfSlices;
template <int W>
__global__ void __launch_bounds__(kCrfThreads) crf_add_pieces_kernel(CrfLattice lattice, const float *parts, int quads,
                                                                     float *rows) {
  __shared__ Vector<float, W> sums[kCrfSlices][kCrfVectors];
  const int vector = static_cast<int>(threadIdx.x) % kCrfVectors, slice = static_cast<int>(threadIdx.x) / kCrfVectors;
  const int64_t vectors = static_cast<int64_t>(lattice.counts[kCrfLongLists]) * quads;
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * kCrfVectors; first < vectors;
       first += static_cast<int64_t>(gridDim.x) * kCrfVectors) {
    const int64_t at = first + vector;
    const bool active = at < vectors;
    const CrfLongList list = lattice.long_list[active ? at / quads : 0];
    const int64_t channel = at % quads * W;
    Vector<float, W> sum = {};
    if (active) {
#pragma unroll 4
      for (uint32_t p = static_cast<uint32_t>(slice); p < list.pieces; p += kCrfSlices) {
        const auto part = load_vector<float, W>(parts + static_cast<int64_t>(list.first_piece + p) * quads * W + channel);
        for (int w = 0; w < W; ++w) sum.value[w] += part.value[w];
      }
    }
    sums[slice][vector] = sum;
    __syncthreads();
    if (active && slice == 0) {
      for (int s = 1; s < kCrfSlices; ++s) {
        for (int w = 0; w < W; ++w) sum.value[w] += sums[s][vector].value[w];
      }
      store_vector(rows + static_cast<int64_t>(list.vertex) * quads * W + channel, sum);
    }
    __syncthreads();
  }
}

// to[v] (=) factor * (from[v] + 0.5 * (from[below] + from[above])); factor [quads * W], or 1 where it is not Scaled. One
// thread a vector of a row. Missing neighbours, the greater part, cost no load.
template <int W, bool Scaled>
__global__ void __launch_bounds__(kCrfThreads)
    crf_blur_kernel(CrfLattice lattice, int axis, const float *__restrict__ from, float *__restrict__ to,
                    const float *factor, int quads) {
  const CrfLane lane(quads);
  if (!lane.active) return;
  const int64_t vertices = lattice.counts[kCrfVertices], width = static_cast<int64_t>(quads) * W;
  const uint2 *table = lattice.neighbour + axis * lattice.capacity;
  Vector<float, W> scale = {};
  if constexpr (Scaled) scale = load_vector<float, W>(factor + lane.quad * W);
  from += lane.quad * W;
  to += lane.quad * W;
#pragma unroll 1
  for (int64_t v = lane.item; v < vertices; v += lane.step) {
    const uint2 near = table[v];
    Vector<float, W> row = load_vector<float, W>(from + v * width), below = {}, above = {};
    if (near.x != 0) below = load_vector<float, W>(from + (near.x - 1) * width);
    if (near.y != 0) above = load_vector<float, W>(from + (near.y - 1) * width);
    for (int w = 0; w < W; ++w) {
      row.value[w] += 0.5f * (below.value[w] + above.value[w]);
      if constexpr (Scaled) row.value[w] *= scale.value[w];
    }
    store_vector(to + v * width, row);
  }
}

}  // namespace

// Splat and blur of x [N, stride] (null: ones), W * quads channels. `rows` gets the result, [V, W * quads]; `other` is
// of the same size, parts holds max_pieces() rows. factor: see crf_blur_kernel.
template <int W>
void crf_filter(LaunchCall &call, const CrfLattice &lattice, const float *x, int64_t stride, int quads,
                const float *factor, float *rows, float *other, float *parts) {
  // The last of d+1 blurs has to end in `rows`.
  float *from = lattice.corners % 2 == 0 ? rows : other, *to = lattice.corners % 2 == 0 ? other : rows;
  const dim3 block(kCrfThreads);
  WM_LAUNCH((crf_splat_kernel<W>), crf_grid(call, lattice.capacity + lattice.max_pieces(), quads), block, 0,
            call.stream(), lattice, x, stride, quads, from, parts);
  const int64_t long_lists = lattice.entries / kCrfPiece;  // at most
  if (long_lists > 0) {
    WM_LAUNCH((crf_add_pieces_kernel<W>), crf_grid(call, long_lists * kCrfSlices, quads), block, 0, call.stream(), lattice,
              parts, quads, from);
  }
  for (int axis = 0; axis < lattice.corners; ++axis) {
    const dim3 grid = crf_grid(call, lattice.capacity, quads);
    if (axis == lattice.corners - 1 && factor != nullptr) {
      WM_LAUNCH((crf_blur_kernel<W, true>), grid, block, 0, call.stream(), lattice, axis, from, to, factor, quads);
    } else {
      WM_LAUNCH((crf_blur_kernel<W, false>), grid, block, 0, call.stream(), lattice, axis, from, to, nullptr, quads);
    }
    std::swap(from, to);
  }
}

}  // namespace wm::cuda
