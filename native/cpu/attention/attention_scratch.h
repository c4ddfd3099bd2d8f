// Per-thread working memory of one chunk: a block of the arena cut into 64-byte aligned pieces.
#pragma once

#include <cstddef>
#include <cstdint>

#include "native/core/arena.h"

namespace wm {
namespace attention {

// Usage: one pass of take() on a Scratch without memory adds up the size, a second one hands out the pieces.
class Scratch {
 public:
  Scratch() = default;
  explicit Scratch(size_t bytes) : data_(static_cast<char *>(Arena::instance().allocate(bytes))), bytes_(bytes) {}
  ~Scratch() {
    if (data_ != nullptr) Arena::instance().release(data_, bytes_);
  }
  Scratch(const Scratch &) = delete;
  Scratch &operator=(const Scratch &) = delete;

  template <class T>
  T *take(int64_t count) {
    T *piece = data_ == nullptr ? nullptr : reinterpret_cast<T *>(data_ + used_);
    used_ += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return piece;
  }
  // The pieces are free again; the next take() starts at the front.
  void rewind() { used_ = 0; }
  size_t used() const { return used_ == 0 ? 64 : used_; }

 private:
  char *data_ = nullptr;
  size_t bytes_ = 0, used_ = 0;
};

}  // namespace attention
}  // namespace wm
