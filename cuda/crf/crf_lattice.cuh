// Permutohedral lattice of one filter term, built on the device (dense-crf.md sections 4 to 6 and 11): every pixel is a
// weighted mean of the d+1 corners of a simplex; filtering is splat to the corners, a blur along d+1 axes, slice back.
//
// The packed keys of all corners are sorted; equal keys are one vertex, and its run of the sorted list names the pixels
// that it gathers from, in pixel order. Nothing depends on a race, so a build repeats bit for bit. Sizes that only the
// device knows (vertices, pieces of long lists) stay there: memory is bounded by corners of all pixels, grids are fixed
// and stride over the counts.
#pragma once

#include "cuda/crf/crf_geometry.cuh"
#include "cuda/core/radix_sort.cuh"

namespace wm::cuda {

enum class CrfNormalisation : int { symmetric = 0, none = 1, before = 2, after = 3 };

struct CrfSpec {
  int dims = 2;          // 2: position; 5: position and colour
  float scale[5] = {};   // sx, sy, sr, sg, sb
  CrfNormalisation normalisation = CrfNormalisation::symmetric;
};

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

// keys, weights [N, d+1] (=). One thread a pixel, no shared memory. image u8 [H, W, 3], read where D is 5.
template <int D, class Key>
__global__ void __launch_bounds__(kCrfThreads)
    crf_geometry_kernel(CrfGeometry<D, Key> geometry, CrfPixels pixels, const uint8_t *image, Key *keys, float *weights,
                        int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kCrfThreads + threadIdx.x;
  if (i >= n) return;
  const uint32_t place = pixels.place(static_cast<uint32_t>(i));
  int value[5] = {static_cast<int>(place & 0xffffu), static_cast<int>(place >> 16), 0, 0, 0};
  if constexpr (D == 5) {
    const uint8_t *colour = image + 3 * (static_cast<int64_t>(value[1]) * pixels.width + value[0]);
    for (int j = 0; j < 3; ++j) value[2 + j] = colour[j];
  }
  CrfSimplex<D, Key> simplex;
  find_simplex<D, Key>(geometry, value, &simplex);
#pragma unroll
  for (int m = 0; m <= D; ++m) {
    keys[i * (D + 1) + m] = simplex.key[m];
    weights[i * (D + 1) + m] = simplex.weight[m];
  }
}

// Whether a sorted key starts a vertex.
template <class Key>
__device__ __forceinline__ bool starts_vertex(const Key *keys, int64_t k, int64_t n) {
  return k < n && (k == 0 || keys[k] != keys[k - 1]);
}

// heads [tiles] (=): vertices that start in a run of kCrfThreads * kItems entries. One block of 256 threads a run.
constexpr int kHeadItems = 8, kHeadTile = kCrfThreads * kHeadItems;
template <class Key>
__global__ void crf_count_heads_kernel(const Key *keys, int64_t n, uint32_t *heads) {
  __shared__ uint32_t sums[kSortWarps];
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kHeadTile + threadIdx.x * kHeadItems;
  uint32_t count = 0, total;
  for (int item = 0; item < kHeadItems; ++item) count += starts_vertex(keys, first + item, n);
  block_exclusive_scan(count, sums, &total);
  if (threadIdx.x == 0) heads[blockIdx.x] = total;
}

// Gives every entry its vertex, in key order: list, start, corner and vertex_key [M] (=). heads: scanned. One block of
// 256 threads a run of entries, eight neighbouring entries a thread.
template <int D, class Key>
__global__ void crf_number_kernel(const Key *keys, const uint32_t *entries, const float *weights, int64_t n,
                                  const uint32_t *heads, CrfLattice lattice, Key *vertex_key) {
  __shared__ uint32_t sums[kSortWarps];
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kHeadTile + threadIdx.x * kHeadItems;
  uint32_t count = 0, total;
  for (int item = 0; item < kHeadItems; ++item) count += starts_vertex(keys, first + item, n);
  // The number of vertices started before this thread's entries; the first entry of all starts one.
  uint32_t started = heads[blockIdx.x] + block_exclusive_scan(count, sums, &total);
  for (int item = 0; item < kHeadItems; ++item) {
    const int64_t k = first + item;
    if (k >= n) break;
    if (starts_vertex(keys, k, n)) {
      lattice.start[started] = static_cast<uint32_t>(k);
      vertex_key[started] = keys[k];
      ++started;
    }
    const uint32_t entry = entries[k];
    const float weight = weights[entry];
    lattice.list[k] = {entry / (D + 1), weight};
    lattice.corner[entry] = {started - 1, weight};
    if (k == n - 1) lattice.start[started] = static_cast<uint32_t>(n);
  }
}

// neighbour (=) 0 for the vertices there are. Threads stride over d+1 tables of M pairs.
__global__ void crf_clear_neighbours_kernel(CrfLattice lattice) {
  const int64_t vertices = lattice.counts[kCrfVertices], step = static_cast<int64_t>(gridDim.x) * kCrfThreads;
  for (int axis = 0; axis < lattice.corners; ++axis) {
    uint2 *table = lattice.neighbour + axis * lattice.capacity;
    for (int64_t v = static_cast<int64_t>(blockIdx.x) * kCrfThreads + threadIdx.x; v < vertices; v += step) {
      table[v] = make_uint2(0, 0);
    }
  }
}

// neighbour (=) where there is one. u is above v along an axis exactly where v is below u, so one search serves both
// entries, and each has one writer. The searches of neighbouring threads take nearly the same way through the keys.
template <int D, class Key>
__global__ void crf_find_neighbours_kernel(CrfGeometry<D, Key> geometry, CrfLattice lattice, const Key *vertex_key) {
  const uint32_t vertices = lattice.counts[kCrfVertices];
  const int64_t step = static_cast<int64_t>(gridDim.x) * kCrfThreads;
  for (int64_t v = static_cast<int64_t>(blockIdx.x) * kCrfThreads + threadIdx.x; v < vertices; v += step) {
    const Key key = vertex_key[v];
#pragma unroll
    for (int axis = 0; axis <= D; ++axis) {
      const Key above = key + geometry.ones - geometry.big[axis];
      uint32_t low = 0, high = vertices;  // the first key that is not lower
      while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (vertex_key[middle] < above) low = middle + 1;
        else high = middle;
      }
      if (low == vertices || vertex_key[low] != above) continue;
      uint2 *table = lattice.neighbour + axis * lattice.capacity;
      table[v].y = low + 1;
      table[low].x = static_cast<uint32_t>(v) + 1;
    }
  }
}

// The lists that are summed in pieces. Their order follows from a race, the sums do not depend on it.
__global__ void crf_long_lists_kernel(CrfLattice lattice) {
  const int64_t vertices = lattice.counts[kCrfVertices], step = static_cast<int64_t>(gridDim.x) * kCrfThreads;
  for (int64_t v = static_cast<int64_t>(blockIdx.x) * kCrfThreads + threadIdx.x; v < vertices; v += step) {
    const uint32_t begin = lattice.start[v], end = lattice.start[v + 1];
    if (end - begin <= kCrfPiece) continue;
    const uint32_t pieces = (end - begin + kCrfPiece - 1) / kCrfPiece;
    const uint32_t first = atomicAdd(&lattice.counts[kCrfPieces], pieces);
    lattice.long_list[atomicAdd(&lattice.counts[kCrfLongLists], 1u)] = {static_cast<uint32_t>(v), first, pieces};
    for (uint32_t p = 0; p < pieces; ++p) {
      const uint32_t at = begin + p * kCrfPiece;
      lattice.piece[first + p] = {at, min(at + kCrfPiece, end)};
    }
  }
}

// Sums of the lists: rows[v] (=) for short lists, parts (=) for the pieces of long ones. x [N, stride] holds W channels
// a vector; null: ones. A thread sums one vector of one list in list order; no shared memory.
template <int W>
__global__ void __launch_bounds__(kCrfThreads)
    crf_splat_kernel(CrfLattice lattice, const float *x, int64_t stride, int quads, float *rows, float *parts) {
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

// to[v] (=) factor * (from[v] + 0.5 * (from[below] + from[above])); factor [quads * W], or null for 1. One thread a
// vector of a row. Missing neighbours, the greater part, cost no load.
template <int W>
__global__ void __launch_bounds__(kCrfThreads)
    crf_blur_kernel(CrfLattice lattice, int axis, const float *from, float *to, const float *factor, int quads) {
  const CrfLane lane(quads);
  if (!lane.active) return;
  const int64_t vertices = lattice.counts[kCrfVertices], width = static_cast<int64_t>(quads) * W;
  const uint2 *table = lattice.neighbour + axis * lattice.capacity;
  Vector<float, W> scale;
  for (int w = 0; w < W; ++w) scale.value[w] = 1.0f;
  if (factor != nullptr) scale = load_vector<float, W>(factor + lane.quad * W);
  from += lane.quad * W;
  to += lane.quad * W;
  for (int64_t v = lane.item; v < vertices; v += lane.step) {
    const uint2 near = table[v];
    Vector<float, W> row = load_vector<float, W>(from + v * width), below = {}, above = {};
    if (near.x != 0) below = load_vector<float, W>(from + (near.x - 1) * width);
    if (near.y != 0) above = load_vector<float, W>(from + (near.y - 1) * width);
    for (int w = 0; w < W; ++w) {
      row.value[w] = scale.value[w] * (row.value[w] + 0.5f * (below.value[w] + above.value[w]));
    }
    store_vector(to + v * width, row);
  }
}

// Norm of a pixel from n = K(1) (section 6), folded into the weights of its corners; norm [N] (=) what its entries of
// the lists are to be multiplied by. One thread a pixel.
template <int D>
__global__ void crf_norm_kernel(CrfLattice lattice, const float *rows, CrfNormalisation normalisation, float *norm) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kCrfThreads + threadIdx.x;
  if (i >= lattice.pixels) return;
  CrfLink *corner = lattice.corner + i * (D + 1);
  const float alpha = 1.0f / (1.0f + 1.0f / static_cast<float>(1 << D));
  float sum = 0.0f;
  for (int m = 0; m <= D; ++m) sum = __fadd_rn(sum, __fmul_rn(__fmul_rn(corner[m].weight, alpha), rows[corner[m].index]));
  const bool symmetric = normalisation == CrfNormalisation::symmetric;
  const float all = __fadd_rn(sum, 1e-20f), scale = __fdiv_rn(1.0f, symmetric ? __fsqrt_rn(all) : all);
  if (normalisation != CrfNormalisation::before) {
    for (int m = 0; m <= D; ++m) corner[m].weight *= scale;
  }
  norm[i] = normalisation == CrfNormalisation::after ? 1.0f : scale;
}

// list.weight *= norm of its pixel. One thread an entry.
__global__ void crf_scale_lists_kernel(CrfLattice lattice, const float *norm) {
  const int64_t k = static_cast<int64_t>(blockIdx.x) * kCrfThreads + threadIdx.x;
  if (k < lattice.entries) lattice.list[k].weight *= norm[lattice.list[k].index];
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
    const bool last = axis == lattice.corners - 1;
    WM_LAUNCH((crf_blur_kernel<W>), crf_grid(call, lattice.capacity, quads), block, 0, call.stream(), lattice, axis, from,
              to, last ? factor : nullptr, quads);
    std::swap(from, to);
  }
}

template <int D, class Key>
CrfLattice build_crf_lattice(LaunchCall &call, const CrfGeometry<D, Key> &geometry, const CrfPixels &pixels,
                             const uint8_t *image, CrfNormalisation normalisation) {
  CrfLattice lattice;
  lattice.corners = D + 1;
  lattice.pixels = static_cast<int64_t>(pixels.width) * pixels.height;
  lattice.entries = lattice.pixels * (D + 1);
  lattice.capacity = std::min(lattice.entries, geometry.volume);
  const int64_t n = lattice.entries;
  lattice.corner = call.workspace<CrfLink>(n);
  lattice.list = call.workspace<CrfLink>(n);
  lattice.start = call.workspace<uint32_t>(lattice.capacity + 1);
  lattice.neighbour = call.workspace<uint2>(lattice.capacity * (D + 1));
  lattice.counts = call.workspace<uint32_t>(kCrfCounts);
  lattice.piece = call.workspace<CrfPiece>(lattice.max_pieces());
  lattice.long_list = call.workspace<CrfLongList>(n / kCrfPiece + 1);

  const dim3 block(kCrfThreads), per_pixel(blocks_for(lattice.pixels, kCrfThreads));
  const dim3 per_vertex = crf_grid(call, lattice.capacity, 1);
  SortBuffers<Key> sort(call, n);
  float *weights = call.workspace<float>(n);
  call.zero(lattice.counts, kCrfCounts * sizeof(uint32_t));
  WM_LAUNCH((crf_geometry_kernel<D, Key>), per_pixel, block, 0, call.stream(), geometry, pixels, image, sort.keys[0],
            weights, lattice.pixels);
  const int sorted = sort_keys(call, sort, n, geometry.bits);
  const int runs = static_cast<int>((n + kHeadTile - 1) / kHeadTile);
  uint32_t *heads = call.workspace<uint32_t>(runs);
  WM_LAUNCH((crf_count_heads_kernel<Key>), dim3(static_cast<unsigned>(runs)), block, 0, call.stream(), sort.keys[sorted], n,
            heads);
  scan_rows(call, heads, lattice.counts + kCrfVertices, 1, runs);
  Key *vertex_key = sort.keys[1 - sorted];
  WM_LAUNCH((crf_number_kernel<D, Key>), dim3(static_cast<unsigned>(runs)), block, 0, call.stream(), sort.keys[sorted],
            sort.values[sorted], weights, n, heads, lattice, vertex_key);
  WM_LAUNCH(crf_clear_neighbours_kernel, per_vertex, block, 0, call.stream(), lattice);
  WM_LAUNCH((crf_find_neighbours_kernel<D, Key>), per_vertex, block, 0, call.stream(), geometry, lattice, vertex_key);
  WM_LAUNCH(crf_long_lists_kernel, per_vertex, block, 0, call.stream(), lattice);

  // `none` needs no norm: one factor for all pixels is not applied.
  if (normalisation == CrfNormalisation::none) return lattice;
  float *rows = call.workspace<float>(lattice.capacity), *other = call.workspace<float>(lattice.capacity);
  float *parts = call.workspace<float>(lattice.max_pieces()), *norm = call.workspace<float>(lattice.pixels);
  crf_filter<1>(call, lattice, nullptr, 0, 1, nullptr, rows, other, parts);
  WM_LAUNCH((crf_norm_kernel<D>), per_pixel, block, 0, call.stream(), lattice, rows, normalisation, norm);
  if (normalisation != CrfNormalisation::after) {
    WM_LAUNCH(crf_scale_lists_kernel, dim3(blocks_for(n, kCrfThreads)), block, 0, call.stream(), lattice, norm);
  }
  return lattice;
}

template <int D>
CrfLattice make_crf_lattice_of(LaunchCall &call, const CrfPixels &pixels, const uint8_t *image, const CrfSpec &spec) {
  const CrfExtent<D> extent(pixels.width, pixels.height, spec.scale);
  for (int i = 0; i < D; ++i) {
    if (extent.span(i) < kCrfMaxCoordinate) continue;
    call.reject("a scale of the %s term is too small: lattice coordinates span %g, the limit is %g; use larger sxy or "
                "srgb", D == 2 ? "gaussian" : "bilateral", extent.span(i), kCrfMaxCoordinate);
  }
  const CrfFields<D> fields(extent);
  // At most 24 bits a field: 64 always hold two, 128 five.
  if constexpr (D > 2) {
    if (fields.total > 63) {
      return build_crf_lattice(call, make_crf_geometry<D, unsigned __int128>(spec.scale, extent, fields), pixels, image,
                               spec.normalisation);
    }
  }
  return build_crf_lattice(call, make_crf_geometry<D, uint64_t>(spec.scale, extent, fields), pixels, image,
                           spec.normalisation);
}

// image: u8 [H, W, 3], read where spec.dims is 5. The lattice lives in the call's workspace. Throws Status::option where
// the scales make coordinates too large for f32.
inline CrfLattice make_crf_lattice(LaunchCall &call, const CrfPixels &pixels, const uint8_t *image, const CrfSpec &spec) {
  return spec.dims == 2 ? make_crf_lattice_of<2>(call, pixels, image, spec)
                        : make_crf_lattice_of<5>(call, pixels, image, spec);
}

}  // namespace wm::cuda
