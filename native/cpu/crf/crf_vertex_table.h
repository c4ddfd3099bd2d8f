// Open-addressing map from a vertex key to the number it got on first sight. Slots hold numbers only; the keys stand
// in one dense list, which is also what the caller wants in the end.
#pragma once

#include <cstdint>
#include <cstring>

#include "native/cpu/crf/crf_buffer.h"

namespace wm {

inline uint64_t mix_key(uint64_t key) { return key * 0x9e3779b97f4a7c15ull; }
inline uint64_t mix_key(unsigned __int128 key) {
  return (static_cast<uint64_t>(key) ^ (static_cast<uint64_t>(key >> 64) * 0xc2b2ae3d27d4eb4full)) *
         0x9e3779b97f4a7c15ull;
}

template <class Key>
class VertexTable {
 public:
  static constexpr uint32_t kNone = 0xffffffffu;

  // keys: list with room for every key that will be inserted. Grows its slots as needed.
  VertexTable(Key *keys, int64_t expected) : keys_(keys) {
    while ((int64_t{1} << bits_) < 2 * expected) ++bits_;
    clear_slots();
  }

  uint32_t count() const { return count_; }
  const Key *keys() const { return keys_; }

  uint32_t find(Key key) const {
    for (uint64_t slot = mix_key(key) >> (64 - bits_);; slot = (slot + 1) & mask()) {
      const uint32_t id = slots_[static_cast<int64_t>(slot)];
      if (id == kNone || keys_[id] == key) return id;
    }
  }

  uint32_t find_or_insert(Key key) {
    uint64_t slot = mix_key(key) >> (64 - bits_);
    for (;; slot = (slot + 1) & mask()) {
      const uint32_t id = slots_[static_cast<int64_t>(slot)];
      if (id == kNone) break;
      if (keys_[id] == key) return id;
    }
    slots_[static_cast<int64_t>(slot)] = count_;
    keys_[count_] = key;
    if (2 * static_cast<uint64_t>(++count_) > mask()) grow();
    return count_ - 1;
  }

 private:
  uint64_t mask() const { return (uint64_t{1} << bits_) - 1; }

  void clear_slots() {
    slots_ = ArenaArray<uint32_t>(int64_t{1} << bits_);
    std::memset(slots_.data(), 0xff, slots_.bytes());
  }

  void grow() {
    ++bits_;
    clear_slots();
    for (uint32_t id = 0; id < count_; ++id) {
      uint64_t slot = mix_key(keys_[id]) >> (64 - bits_);
      while (slots_[static_cast<int64_t>(slot)] != kNone) slot = (slot + 1) & mask();
      slots_[static_cast<int64_t>(slot)] = id;
    }
  }

  Key *keys_;
  ArenaArray<uint32_t> slots_;
  uint32_t count_ = 0;
  int bits_ = 10;
};

}  // namespace wm
