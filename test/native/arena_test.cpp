// The caching allocator: alignment, reuse, counters, limits, several threads.
#include <cstring>
#include <thread>
#include <vector>

#include "native/core/arena.h"
#include "test/native/check.h"

using namespace wm;

WM_TEST(blocks_are_aligned_and_whole) {
  Arena &arena = Arena::instance();
  for (size_t bytes : {size_t{0}, size_t{1}, size_t{63}, size_t{64}, size_t{65}, size_t{4097}, size_t{65535}, size_t{65537},
                       size_t{3} << 20}) {
    void *data = arena.allocate(bytes);
    WM_CHECK(data != nullptr && reinterpret_cast<uintptr_t>(data) % 64 == 0);
    std::memset(data, 0x5a, bytes);
    arena.release(data, bytes);
  }
}

WM_TEST(counters_return_to_where_they_were) {
  Arena &arena = Arena::instance();
  arena.trim();
  const MemoryStats before = arena.stats();
  WM_CHECK(before.cached_bytes == 0);
  arena.reset_peak();
  void *first = arena.allocate(100000);
  void *second = arena.allocate(10);
  const MemoryStats during = arena.stats();
  WM_CHECK(during.live_bytes >= before.live_bytes + 100010);
  WM_CHECK(during.peak_bytes == during.live_bytes);
  arena.release(first, 100000);
  arena.release(second, 10);
  const MemoryStats after = arena.stats();
  WM_CHECK(after.live_bytes == before.live_bytes);
  WM_CHECK(after.cached_bytes == during.live_bytes - before.live_bytes);
  WM_CHECK(after.peak_bytes == during.peak_bytes);
  arena.trim();
  WM_CHECK(arena.stats().cached_bytes == 0);
}

WM_TEST(a_released_block_is_reused) {
  Arena &arena = Arena::instance();
  void *first = arena.allocate(200000);
  arena.release(first, 200000);
  void *second = arena.allocate(200000);
  WM_CHECK(first == second);
  arena.release(second, 200000);
}

WM_TEST(impossible_sizes_are_refused) {
  Arena &arena = Arena::instance();
  const uint64_t live = arena.stats().live_bytes;
  WM_CHECK_THROWS(Status::memory, arena.allocate(~size_t{0}));
  WM_CHECK_THROWS(Status::memory, arena.allocate((size_t{1} << 46) + 1));
  WM_CHECK(arena.stats().live_bytes == live);
  void *data = arena.allocate(1);
  WM_CHECK(data != nullptr);
  arena.release(data, 1);
}

WM_TEST(threads_share_it) {
  Arena &arena = Arena::instance();
  const uint64_t live = arena.stats().live_bytes;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&arena, i] {
      for (int round = 0; round < 300; ++round) {
        const size_t bytes = static_cast<size_t>(1 + (round * 37 + i * 101) % 9000) * 16;
        void *data = arena.allocate(bytes);
        std::memset(data, i, bytes);
        arena.release(data, bytes);
      }
    });
  }
  for (std::thread &thread : threads) thread.join();
  WM_CHECK(arena.stats().live_bytes == live);
}
