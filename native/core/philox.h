// Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a counter-based generator.
// Block n of a stream depends on the key and n alone, so any element can be drawn by any thread, and a restart needs
// nothing but the counter.
#pragma once

#include <cstdint>

#include "native/core/half.h"

namespace wm {

struct PhiloxBlock {
  uint32_t word[4];
};

WM_HOST_DEVICE inline PhiloxBlock philox_4x32(uint32_t key_low, uint32_t key_high, uint64_t counter) {
  uint32_t a = static_cast<uint32_t>(counter), b = static_cast<uint32_t>(counter >> 32), c = 0, d = 0;
  for (int round = 0; round < 10; ++round) {
    const uint64_t p = uint64_t{0xD2511F53u} * a, q = uint64_t{0xCD9E8D57u} * c;
    a = static_cast<uint32_t>(q >> 32) ^ b ^ key_low;
    b = static_cast<uint32_t>(q);
    c = static_cast<uint32_t>(p >> 32) ^ d ^ key_high;
    d = static_cast<uint32_t>(p);
    key_low += 0x9E3779B9u;
    key_high += 0xBB67AE85u;
  }
  return {{a, b, c, d}};
}

}  // namespace wm
