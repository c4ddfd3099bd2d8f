// The pool under one and several callers. Run under ThreadSanitizer too, where the counts are the same and the point is
// that plain memory written in one region is seen by the next.
#include <atomic>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "native/core/thread_pool.h"
#include "test/native/check.h"

using namespace wm;

namespace {

struct WithThreads {
  explicit WithThreads(int n) : before(ThreadPool::instance().size()) { ThreadPool::instance().resize(n); }
  ~WithThreads() { ThreadPool::instance().resize(before); }
  int before;
};

// Sum of 0 .. n-1 through chunks of plain memory.
int64_t sum_of_chunks(int64_t n) {
  std::vector<int64_t> parts(static_cast<size_t>(n), 0);
  ThreadPool::instance().run(n, [&](int64_t chunk) { parts[static_cast<size_t>(chunk)] = chunk; });
  return std::accumulate(parts.begin(), parts.end(), int64_t{0});
}

}  // namespace

WM_TEST(every_chunk_runs_once) {
  for (int threads : {1, 2, 3, 8}) {
    const WithThreads scope(threads);
    WM_CHECK(ThreadPool::instance().size() == threads);
    for (int64_t chunks : {0, 1, 2, 7, 64, 1001}) {
      std::unique_ptr<std::atomic<int>[]> seen(new std::atomic<int>[static_cast<size_t>(chunks) + 1]());
      ThreadPool::instance().run(chunks, [&](int64_t chunk) { ++seen[static_cast<size_t>(chunk)]; });
      bool once = true;
      for (int64_t i = 0; i < chunks; ++i) once = once && seen[static_cast<size_t>(i)] == 1;
      WM_CHECK(once);
    }
  }
}

WM_TEST(many_short_regions) {
  const WithThreads scope(3);
  std::vector<int64_t> values(16, 0);
  for (int round = 0; round < 2000; ++round) {
    ThreadPool::instance().run(16, [&](int64_t chunk) { ++values[static_cast<size_t>(chunk)]; });
  }
  for (int64_t value : values) WM_CHECK(value == 2000);
}

WM_TEST(regions_after_a_pause) {
  // Longer than the workers spin: they are asleep when the next region starts.
  const WithThreads scope(4);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    WM_CHECK(sum_of_chunks(100) == 4950);
  }
}

WM_TEST(nested_regions_run_on_the_caller) {
  const WithThreads scope(3);
  std::atomic<int64_t> total{0};
  ThreadPool::instance().run(8, [&](int64_t) {
    const std::thread::id self = std::this_thread::get_id();
    ThreadPool::instance().run(5, [&](int64_t) {
      if (std::this_thread::get_id() == self) ++total;
    });
  });
  WM_CHECK(total == 40);
}

WM_TEST(first_exception_reaches_the_caller) {
  for (int threads : {1, 3}) {
    const WithThreads scope(threads);
    bool caught = false;
    try {
      ThreadPool::instance().run(50, [](int64_t chunk) {
        if (chunk == 17) throw std::runtime_error("chunk 17");
      });
    } catch (const std::runtime_error &error) {
      caught = std::string(error.what()) == "chunk 17";
    }
    WM_CHECK(caught);
    WM_CHECK(sum_of_chunks(100) == 4950);
  }
}

WM_TEST(concurrent_callers) {
  const WithThreads scope(3);
  std::atomic<int> right{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) right += sum_of_chunks(64) == 2016;
    });
  }
  for (std::thread &caller : callers) caller.join();
  WM_CHECK(right == 200);
}

WM_TEST(resize_while_others_call) {
  const WithThreads scope(2);
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::thread caller([&] {
    while (!stop) wrong += sum_of_chunks(64) != 2016;
  });
  for (int round = 0; round < 20; ++round) ThreadPool::instance().resize(1 + round % 4);
  stop = true;
  caller.join();
  WM_CHECK(wrong == 0);
}

WM_TEST(size_is_bounded) {
  const WithThreads scope(2);
  ThreadPool::instance().resize(0);
  WM_CHECK(ThreadPool::instance().size() == 1);
  ThreadPool::instance().resize(100000);
  WM_CHECK(ThreadPool::instance().size() == 256);
}
