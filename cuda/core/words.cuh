// Moving elements without looking at them: the widest word that a layout in bytes allows.
#pragma once

#include <initializer_list>

#include "cuda/core/strided.cuh"

namespace wm::cuda {

// 16 bytes as one access.
using Word16 = Vector<uint32_t, 4>;

// Calls body with a word of 16, 8, 4, 2 or 1 bytes: the widest that divides all of `bytes` (lengths, steps, addresses).
template <class F>
void dispatch_word(std::initializer_list<int64_t> bytes, F &&body) {
  int64_t all = 0;
  for (const int64_t b : bytes) all |= b;
  if (all % 16 == 0) return body(Word16{});
  if (all % 8 == 0) return body(uint64_t{});
  if (all % 4 == 0) return body(uint32_t{});
  if (all % 2 == 0) return body(uint16_t{});
  return body(uint8_t{});
}

inline int64_t address_of(const void *data) { return static_cast<int64_t>(reinterpret_cast<uintptr_t>(data)); }

}  // namespace wm::cuda
