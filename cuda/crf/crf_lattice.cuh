// Permutohedral lattice of one filter term, built on the device (dense-crf.md sections 4 to 6 and 11): every pixel is a
// weighted mean of the d+1 corners of a simplex; filtering is splat to the corners, a blur along d+1 axes, slice back.
//
// The packed keys of all corners are sorted; equal keys are one vertex, and its run of the sorted list names the pixels
// that it gathers from, in pixel order. Nothing depends on a race, so a build repeats bit for bit. Sizes that only the
// device knows (vertices, pieces of long lists) stay there: memory is bounded by corners of all pixels, grids are fixed
// and stride over the counts.
#pragma once

#include "cuda/core/radix_sort.cuh"
#include "cuda/crf/crf_filter.cuh"
#include "cuda/crf/crf_geometry.cuh"
#include "native/core/crf_spec.h"

namespace wm::cuda {

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

constexpr int64_t kCrfKept = 1;  // the kind in the key

inline int64_t float_key(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// Queues what fills the lattice, whose sizes and memory are set.
template <int D, class Key>
void build_crf_lattice(LaunchCall &call, const CrfGeometry<D, Key> &geometry, const CrfPixels &pixels,
                       const uint8_t *image, CrfNormalisation normalisation, const CrfLattice &lattice) {
  const int64_t n = lattice.entries;
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
  if (normalisation == CrfNormalisation::none) return;
  float *rows = call.workspace<float>(lattice.capacity), *other = call.workspace<float>(lattice.capacity);
  float *parts = call.workspace<float>(lattice.max_pieces()), *norm = call.workspace<float>(lattice.pixels);
  crf_filter<1>(call, lattice, nullptr, 0, 1, nullptr, rows, other, parts);
  WM_LAUNCH((crf_norm_kernel<D>), per_pixel, block, 0, call.stream(), lattice, rows, normalisation, norm);
  if (normalisation != CrfNormalisation::after) {
    WM_LAUNCH(crf_scale_lists_kernel, dim3(blocks_for(n, kCrfThreads)), block, 0, call.stream(), lattice, norm);
  }
}

// The lattice of positions depends on the picture's size and the term alone: it stays for the calls behind, within the
// limits of what a device keeps.
template <int D, class Key>
CrfLattice make_crf_lattice_with(LaunchCall &call, const CrfGeometry<D, Key> &geometry, const CrfPixels &pixels,
                                 const uint8_t *image, const CrfSpec &spec) {
  CrfLattice lattice;
  const uint64_t bytes = lattice.resize(D + 1, static_cast<int64_t>(pixels.width) * pixels.height, geometry.volume);
  if (D != 2 || bytes > KeptBlocks::kMostBytes / 2) {
    lattice.place(call.workspace_bytes(bytes));
    build_crf_lattice(call, geometry, pixels, image, spec.normalisation, lattice);
    return lattice;
  }
  const KeptKey key{kCrfKept, pixels.width, pixels.height, float_key(spec.scale[0]), float_key(spec.scale[1]),
                    static_cast<int64_t>(spec.normalisation)};
  void *kept = call.find_kept(key);
  lattice.place(kept != nullptr ? kept : call.keepable_bytes(bytes));
  if (kept == nullptr) {
    build_crf_lattice(call, geometry, pixels, image, spec.normalisation, lattice);
    call.keep(key, lattice.corner);
  }
  return lattice;
}

template <int D>
CrfLattice make_crf_lattice_of(LaunchCall &call, const CrfPixels &pixels, const uint8_t *image, const CrfSpec &spec) {
  const CrfExtent<D> extent(pixels.width, pixels.height, spec.scale);
  for (int i = 0; i < D; ++i) check_crf_span(call, D, extent.span(i));
  const CrfFields<D> fields(extent);
  // At most 24 bits a field: 64 always hold two, 128 five.
  if constexpr (D > 2) {
    if (fields.total > 63) {
      return make_crf_lattice_with(call, make_crf_geometry<D, unsigned __int128>(spec.scale, extent, fields), pixels, image, spec);
    }
  }
  return make_crf_lattice_with(call, make_crf_geometry<D, uint64_t>(spec.scale, extent, fields), pixels, image, spec);
}

// image: u8 [H, W, 3], read where spec.dims is 5. The lattice lives as long as the call. Throws Status::option where
// the scales make coordinates too large for f32.
inline CrfLattice make_crf_lattice(LaunchCall &call, const CrfPixels &pixels, const uint8_t *image, const CrfSpec &spec) {
  return spec.dims == 2 ? make_crf_lattice_of<2>(call, pixels, image, spec)
                        : make_crf_lattice_of<5>(call, pixels, image, spec);
}

}  // namespace wm::cuda
