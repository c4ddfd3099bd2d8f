// Caching allocator of the CPU back end. Blocks come in size classes (four steps an octave, pages above 64 KiB)
// and are kept for reuse when freed, up to a cap; the kernel gets the rest back at once. WORDMASK_MEMORY_LIMIT (bytes)
// bounds what is handed out; beyond it allocations fail as they do when the machine has no more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

namespace wm {

struct MemoryStats {
  uint64_t live_bytes;    // handed out and not yet returned
  uint64_t cached_bytes;  // kept for reuse
  uint64_t peak_bytes;    // highest live_bytes so far
};

class Arena {
 public:
  static Arena &instance();

  // 64-byte aligned, uninitialised. Throws Status::memory after one try with the cache emptied.
  void *allocate(size_t bytes);
  // `bytes` must be what was asked for.
  void release(void *data, size_t bytes);
  // Gives every cached block back to the system.
  void trim();
  MemoryStats stats() const;
  void reset_peak();

 private:
  Arena();
  static size_t size_class(size_t bytes);
  void trim_locked();

  mutable std::mutex mutex_;
  std::map<size_t, std::vector<void *>> free_;
  uint64_t live_ = 0, cached_ = 0, peak_ = 0;
  uint64_t limit_;
};

}  // namespace wm
