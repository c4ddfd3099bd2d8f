// Owned scratch memory from the arena, for what outlives a call (cached lattices) or belongs to one chunk.
#pragma once

#include <cstdint>
#include <utility>

#include "native/core/arena.h"

namespace wm {

// 64-byte aligned, uninitialised array of a plain type.
template <class T>
class ArenaArray {
 public:
  ArenaArray() = default;
  explicit ArenaArray(int64_t count)
      : data_(static_cast<T *>(Arena::instance().allocate(bytes_of(count)))), count_(count) {}
  ~ArenaArray() { reset(); }
  ArenaArray(ArenaArray &&other) noexcept
      : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
  ArenaArray &operator=(ArenaArray &&other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }

  T *data() { return data_; }
  const T *data() const { return data_; }
  T &operator[](int64_t i) { return data_[i]; }
  const T &operator[](int64_t i) const { return data_[i]; }
  int64_t size() const { return count_; }
  size_t bytes() const { return data_ == nullptr ? 0 : bytes_of(count_); }
  void reset() {
    if (data_ != nullptr) Arena::instance().release(data_, bytes_of(count_));
    data_ = nullptr;
    count_ = 0;
  }

 private:
  // At least one element, so that an empty array still has an address.
  static size_t bytes_of(int64_t count) { return static_cast<size_t>(count > 0 ? count : 1) * sizeof(T); }

  T *data_ = nullptr;
  int64_t count_ = 0;
};

}  // namespace wm
