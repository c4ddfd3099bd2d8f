// Memory of one command on a device, released behind its kernels; while launches are captured, part of an area that stays as
// long as the graph.
#pragma once

#include <vector>

#include "native/core/device_queue.h"

namespace wm {

class DeviceScratch {
 public:
  // For launches on the compute stream.
  explicit DeviceScratch(DeviceQueue &queue) : queue_(queue), stream_(queue.compute()) {}
  // For those that a stream captures.
  DeviceScratch(DeviceQueue &queue, wm_stream *stream, uint8_t *area, size_t bytes)
      : queue_(queue), stream_(stream), area_(area), bytes_(bytes) {}
  ~DeviceScratch() {
    for (void *block : blocks_) queue_.release(block, read_aside_);
  }
  DeviceScratch(const DeviceScratch &) = delete;
  DeviceScratch &operator=(const DeviceScratch &) = delete;

  static size_t rounded(size_t bytes) { return (bytes + 255) / 256 * 256; }

  wm_stream *stream() const { return stream_; }
  bool captures() const { return area_ != nullptr; }
  void *take(size_t bytes) {
    const size_t at = taken_;
    taken_ += rounded(bytes);
    if (area_ != nullptr) {
      if (taken_ > bytes_) fail(Status::internal, "a capture needs more scratch memory than its first run");
      return area_ + at;
    }
    void *block = queue_.allocate(bytes);
    blocks_.push_back(block);
    return block;
  }
  // Bytes so far, as an area would need them.
  size_t taken() const { return taken_; }
  void set_read_aside() { read_aside_ = true; }

 private:
  DeviceQueue &queue_;
  wm_stream *stream_;
  uint8_t *area_ = nullptr;
  size_t bytes_ = 0, taken_ = 0;
  std::vector<void *> blocks_;
  bool read_aside_ = false;
};

}  // namespace wm
