#include "native/core/staging.h"

namespace wm {

void *StagingRing::take_locked(uint64_t bytes) {
  if (base_ == nullptr) {
    device_.check(device_.table().host_alloc(device_.context(), kBytes, &base_), "page-locked memory for copies");
  }
  const uint64_t rounded = (bytes + 255) / 256 * 256;
  // A piece lies in one part: where it would reach over the end, the rest there is left out.
  const uint64_t place = end_ % kBytes;
  const uint64_t skipped = place + rounded > kBytes ? kBytes - place : 0;
  if (end_ + skipped + rounded - begin_ > kBytes) return nullptr;
  void *piece = static_cast<uint8_t *>(base_) + (end_ + skipped) % kBytes;
  end_ += skipped + rounded;
  ends_.push_back(end_);
  return piece;
}

void *StagingRing::try_take(uint64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  return take_locked(bytes);
}

void *StagingRing::take(uint64_t bytes) {
  std::unique_lock<std::mutex> lock(mutex_);
  void *piece = take_locked(bytes);
  while (piece == nullptr) {
    freed_.wait(lock);
    piece = take_locked(bytes);
  }
  return piece;
}

void StagingRing::give_back() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    begin_ = ends_.front();
    ends_.pop_front();
  }
  freed_.notify_one();
}

}  // namespace wm
