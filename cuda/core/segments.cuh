// One launch over many tensors: their blocks stand one after another in the grid, and a block looks up the tensor it
// works on. The table travels to the kernel by value, so more tensors than it holds take several launches.
#pragma once

#include "cuda/core/op.h"

namespace wm::cuda {

// Entry has a member int32_t first: its first block of the launch. Kernel parameters may take 4 KiB in all.
template <class Entry, int kMost>
struct Segments {
  int count = 0;
  int32_t blocks = 0;
  Entry entry[kMost];

  // Adds an entry of `size` blocks; false where the table must be launched first.
  bool add(Entry next, int64_t size) {
    if (count == kMost || size > INT32_MAX - blocks) return false;
    next.first = blocks;
    entry[count++] = next;
    blocks += static_cast<int32_t>(size);
    return true;
  }

  // The last entry that begins at or before the block. Entries of no blocks are never found.
  __device__ const Entry &find(int32_t block) const {
    int low = 0, high = count - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (entry[middle].first <= block) low = middle;
      else high = middle - 1;
    }
    return entry[low];
  }
};

// Adds the entry, after launch(table) where the table is full.
template <class Entry, int kMost, class Launch>
void add_or_launch(const LaunchCall &call, Segments<Entry, kMost> &table, const Entry &entry, int64_t size,
                   const Launch &launch) {
  if (table.add(entry, size)) return;
  launch(table);
  table.count = table.blocks = 0;
  if (!table.add(entry, size)) call.reject("%lld blocks do not fit a grid", static_cast<long long>(size));
}

}  // namespace wm::cuda
