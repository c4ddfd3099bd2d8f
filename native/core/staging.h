// Page-locked host memory through which bytes travel to and from a device: a ring of pieces, given back in the order in which
// they were taken. One thread takes; another may give back.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>

#include "native/core/device_context.h"

namespace wm {

class StagingRing {
 public:
  // Largest piece; transfers beyond it are cut into slices.
  static constexpr uint64_t kSlice = uint64_t{4} << 20;

  explicit StagingRing(DeviceContext &device) : device_(device) {}
  ~StagingRing() { device_.table().host_free(device_.context(), base_); }
  StagingRing(const StagingRing &) = delete;
  StagingRing &operator=(const StagingRing &) = delete;

  // `bytes` (up to kSlice) of the ring, or null while they are taken. The memory itself comes with the first call.
  void *try_take(uint64_t bytes);
  // The same, waiting for another thread to give back.
  void *take(uint64_t bytes);
  // Gives the oldest piece back.
  void give_back();

 private:
  static constexpr uint64_t kBytes = 4 * kSlice;
  void *take_locked(uint64_t bytes);

  DeviceContext &device_;
  std::mutex mutex_;
  std::condition_variable freed_;
  void *base_ = nullptr;
  uint64_t begin_ = 0, end_ = 0;  // counts of bytes since the start; the place is the rest by kBytes
  std::deque<uint64_t> ends_;     // of the pieces that are out
};

}  // namespace wm
