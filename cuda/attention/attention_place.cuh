// Which rows and keys a block works on. Blocks run over (image, head, split, query tile), the tile fastest, so that blocks
// which share keys run together and find them in L2. Tiles start at row 0 of a sequence: its bits do not depend on what
// else is in the batch.
#pragma once

#include "cuda/attention/attention_params.h"

namespace wm::cuda::attention {

struct Place {
  int b, head, split;
  int begin;      // first row (or key) of the tile
  int nq;         // rows of the sequence
  int keys;       // keys that any row may see: by length
  int nk;         // keys of the sequence
  int64_t first;  // where a packed sequence begins
  int64_t stats;  // index of row 0 in [B, A, Nq]
};

// Tiles of `tile` rows that a head's sequences of `n` rows need. Packed sequences: sequence s starts at slot
// starts[s] / tile + s, which leaves each at least as many slots as it has tiles.
__host__ __device__ inline int tile_slots(const Params &p, int n, int tile) {
  return p.starts != nullptr ? n / tile + p.batch : (n + tile - 1) / tile;
}

// Blocks of a launch over all heads.
inline dim3 tile_grid(const Params &p, int n, int tile, int splits) {
  const int64_t images = p.starts != nullptr ? 1 : p.batch;
  return dim3(blocks_for(images * p.heads * splits * tile_slots(p, n, tile), 1));
}

// The packed sequence of a slot: the last s with starts[s] / tile + s <= slot. Starts that do not rise from 0 to the number
// of rows (a fault of the caller, found by a kernel of its own) must not leave the tensor, hence the clamps.
__device__ inline void locate_packed(const Params &p, int slot, int tile, Place &at) {
  int low = 0, high = p.batch - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (min(max(p.starts[middle], 0), p.nq) / tile + middle <= slot) low = middle;
    else high = middle - 1;
  }
  const int first = min(max(p.starts[low], 0), p.nq), last = min(max(p.starts[low + 1], first), p.nq);
  at.b = 0;
  at.first = first;
  at.nq = at.nk = at.keys = last - first;
  at.begin = (slot - first / tile - low) * tile;
}

// `n`: rows that are cut into tiles, Nq or Nk; `number`: of the tile over all heads. at.begin may lie behind the sequence (a
// slot without work).
__device__ inline Place locate_tile(const Params &p, int n, int tile, int splits, int64_t number) {
  Place at;
  const int slots = tile_slots(p, n, tile);
  int64_t rest = number;
  const int slot = static_cast<int>(rest % slots);
  rest /= slots;
  at.split = static_cast<int>(rest % splits);
  rest /= splits;
  at.head = static_cast<int>(rest % p.heads);
  at.b = static_cast<int>(rest / p.heads);
  at.first = 0;
  at.begin = slot * tile;
  at.nq = p.nq;
  at.nk = at.keys = p.nk;
  if (p.starts != nullptr) locate_packed(p, slot, tile, at);
  if (p.key_lengths != nullptr) at.keys = min(at.keys, max(0, p.key_lengths[at.b * p.key_length_step]));
  at.stats = (static_cast<int64_t>(at.b) * p.heads + at.head) * p.nq + at.first;
  return at;
}

__device__ inline Place locate(const Params &p, int n, int tile, int splits) {
  return locate_tile(p, n, tile, splits, blockIdx.x);
}

// Leading keys that row i sees; none behind the last row.
__device__ inline int key_limit(const Params &p, const Place &at, int i) {
  if (i >= at.nq) return 0;
  return p.causal ? min(at.keys, i + 1) : at.keys;
}

// Leading keys that any row of a tile sees.
__device__ inline int tile_key_limit(const Params &p, const Place &at, int tile) {
  return at.begin >= at.nq ? 0 : key_limit(p, at, min(at.begin + tile, at.nq) - 1);
}

template <class T>
__device__ const T *head_rows(const Rows &x, const Place &at) {
  return static_cast<const T *>(x.data) + at.b * x.batch + at.head * x.head + at.first * x.row;
}

__device__ inline int64_t target_row(const Target &t, const Place &at, int i) {
  return at.b * t.batch + at.head * t.head + (at.first + i) * t.row;
}

}  // namespace wm::cuda::attention
