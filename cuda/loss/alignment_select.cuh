// The k largest values of a row, lower index first among equals, by one block: a radix selection finds the k-th value's key
// exactly, a scan in index order then names the chosen. Counts are integers, so the order of atomics changes nothing.
#pragma once

#include "cuda/core/op.h"

namespace wm::cuda {

constexpr int kSelectThreads = 256;
constexpr int kSelectWarps = kSelectThreads / 32;

struct SelectShared {
  int counts[256];
  int warp_counts[kSelectWarps];
  int bucket, left, index;
};

// The values whose key is above `key`, and the first `left` of those that have it.
struct Selection {
  uint32_t key;
  int left;
};

// Larger keys for larger values; both zeros have one.
__device__ __forceinline__ uint32_t ordered_key(float value) {
  const uint32_t bits = __float_as_uint(value + 0.0f);
  return bits ^ (bits >> 31 != 0 ? 0xffffffffu : 0x80000000u);
}

// The bucket of shared.counts that holds the `left`-th value from the top; 8 buckets a lane of the first warp.
__device__ inline void find_bucket(SelectShared &shared, int left) {
  if (threadIdx.x >= 32) return;
  const int lane = static_cast<int>(threadIdx.x);
  int own = 0;
  for (int i = 0; i < 8; ++i) own += shared.counts[255 - lane * 8 - i];
  int upto = own;
  for (int distance = 1; distance < 32; distance *= 2) {
    const int other = __shfl_up_sync(kFullMask, upto, distance);
    if (lane >= distance) upto += other;
  }
  int rest = left - (upto - own);
  if (rest < 1 || rest > own) return;
  for (int bucket = 255 - lane * 8;; --bucket) {
    if (rest <= shared.counts[bucket]) {
      shared.bucket = bucket;
      shared.left = rest;
      return;
    }
    rest -= shared.counts[bucket];
  }
}

// The k-th largest of value(0..n-1), k from 1 to n; all threads of the block take part and get the result.
template <class Value>
__device__ Selection kth_largest(const Value &value, int n, int k, SelectShared &shared) {
  Selection found{0, k};
  uint32_t known = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    shared.counts[threadIdx.x] = 0;
    __syncthreads();
    for (int p = static_cast<int>(threadIdx.x); p < n; p += kSelectThreads) {
      const uint32_t key = ordered_key(value(p));
      if ((key & known) == found.key) atomicAdd(&shared.counts[key >> shift & 255u], 1);
    }
    __syncthreads();
    find_bucket(shared, found.left);
    __syncthreads();
    found.key |= static_cast<uint32_t>(shared.bucket) << shift;
    found.left = shared.left;
    known |= 255u << shift;
  }
  return found;
}

// emit(place, index, is the last of the chosen in falling order) for all chosen, places in order of the index.
template <class Value, class Emit>
__device__ void each_selected(const Value &value, int n, const Selection &selection, SelectShared &shared,
                              const Emit &emit) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  int above_before = 0, equal_before = 0;
  for (int first = 0; first < n; first += kSelectThreads) {
    const int p = first + static_cast<int>(threadIdx.x);
    const uint32_t key = p < n ? ordered_key(value(p)) : 0;
    const bool above = p < n && key > selection.key, equal = p < n && key == selection.key;
    const unsigned aboves = __ballot_sync(kFullMask, above), equals = __ballot_sync(kFullMask, equal);
    if (lane == 0) shared.warp_counts[warp] = __popc(aboves) | __popc(equals) << 16;
    __syncthreads();
    int before = 0, all = 0;
    for (int w = 0; w < kSelectWarps; ++w) {
      before += w < warp ? shared.warp_counts[w] : 0;
      all += shared.warp_counts[w];
    }
    __syncthreads();
    const unsigned lower = (1u << lane) - 1u;
    const int rank_above = above_before + (before & 0xffff) + __popc(aboves & lower);
    const int rank_equal = equal_before + (before >> 16) + __popc(equals & lower);
    if (above || (equal && rank_equal < selection.left))
      emit(rank_above + min(rank_equal, selection.left), p, equal && rank_equal == selection.left - 1);
    above_before += all & 0xffff;
    equal_before += all >> 16;
  }
}

}  // namespace wm::cuda
