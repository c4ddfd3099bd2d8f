#include "native/core/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace wm {

namespace {

// About 20 us of spinning before a worker sleeps: longer than the gap between two kernels of one encode.
constexpr int kSpins = 4000;

inline void cpu_relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

int default_threads() {
  if (const char *text = std::getenv("WORDMASK_THREADS")) {
    const int n = std::atoi(text);
    if (n >= 1) return n < 256 ? n : 256;
  }
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    const int n = CPU_COUNT(&set);
    if (n >= 1) return n < 256 ? n : 256;
  }
  const unsigned n = std::thread::hardware_concurrency();
  return n == 0 ? 1 : static_cast<int>(n < 256 ? n : 256);
}

thread_local bool inside_region = false;

// Moves the calling thread off `cpu` if it runs there while others are allowed and enough for all. A worker that spins
// between regions never sleeps, so a kernel that places threads only when they wake would leave it beside the caller.
void leave_cpu(int cpu, int threads) {
#if defined(__linux__)
  if (cpu < 0 || sched_getcpu() != cpu) return;
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < threads) return;
  cpu_set_t others = allowed;
  CPU_CLR(static_cast<size_t>(cpu), &others);
  if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0) {
    sched_setaffinity(0, sizeof allowed, &allowed);
  }
#else
  static_cast<void>(cpu);
  static_cast<void>(threads);
#endif
}

int current_cpu() {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

}  // namespace

// One parallel region at a time. Workers wait for the gate's region number to change, enter while the gate is open and take
// chunks from `next` until none is left. run() shuts the gate and returns once nobody is inside: it waits for those that
// entered alone, so that a worker which the system has not woken yet holds up nothing, and no worker can touch the body of a
// region that is over.
struct ThreadPool::Impl {
  std::mutex region_mutex;  // serialises callers
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::thread> workers;
  // Region number << 16 | open << 15 | workers inside.
  std::atomic<uint64_t> gate{0};
  std::atomic<int64_t> next{0};
  int64_t chunks = 0;
  const std::function<void(int64_t)> *body = nullptr;
  int caller_cpu = -1;  // where the region's caller runs
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  std::mutex error_mutex;
  bool stopping = false;
  std::atomic<int> threads{1};

  static constexpr uint64_t kOpen = uint64_t{1} << 15, kInside = kOpen - 1;
  uint64_t region() const { return gate.load(std::memory_order_acquire) >> 16; }

  // Enters the region `number` unless it is over.
  bool enter(uint64_t number) {
    uint64_t now = gate.load(std::memory_order_acquire);
    while (now >> 16 == number && (now & kOpen) != 0) {
      if (gate.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel)) return true;
    }
    return false;
  }

  void work() {
    for (;;) {
      const int64_t chunk = next.fetch_add(1, std::memory_order_relaxed);
      if (chunk >= chunks) return;
      if (failed.load(std::memory_order_relaxed)) continue;
      try {
        (*body)(chunk);
      } catch (...) {
        std::lock_guard<std::mutex> lock(error_mutex);
        if (!error) error = std::current_exception();
        failed.store(true, std::memory_order_relaxed);
      }
    }
  }

  // `seen`: the region at the worker's start, so that it waits for the first one after it.
  void worker_main(uint64_t seen) {
    inside_region = true;
    for (;;) {
      int spins = 0;
      while (region() == seen && spins < kSpins) {
        cpu_relax();
        ++spins;
      }
      if (region() == seen) {
        std::unique_lock<std::mutex> lock(mutex);
        wake.wait(lock, [&] { return region() != seen || stopping; });
      }
      {
        std::lock_guard<std::mutex> lock(mutex);
        if (stopping) return;
        seen = region();
      }
      if (!enter(seen)) continue;
      leave_cpu(caller_cpu, threads.load(std::memory_order_relaxed));
      work();
      gate.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  // Where a limit on processes leaves fewer threads, the pool stays as small as it got: results do not depend on it.
  void start_workers(int count) {
    workers.reserve(static_cast<size_t>(count));
    try {
      for (int i = 0; i < count; ++i) workers.emplace_back([this, seen = region()] { worker_main(seen); });
    } catch (const std::system_error &) {
      threads = 1 + static_cast<int>(workers.size());
    }
  }

  void stop_workers() {
    {
      std::lock_guard<std::mutex> lock(mutex);
      stopping = true;
      gate.fetch_add(uint64_t{1} << 16, std::memory_order_acq_rel);
    }
    wake.notify_all();
    for (std::thread &worker : workers) worker.join();
    workers.clear();
    stopping = false;
  }
};

ThreadPool &ThreadPool::instance() {
  // Never destroyed: worker threads may still run while static destructors do.
  static ThreadPool *pool = new ThreadPool();
  return *pool;
}

ThreadPool::ThreadPool() : impl_(new Impl) { impl_->threads = default_threads(); }
ThreadPool::~ThreadPool() { impl_->stop_workers(); }

int ThreadPool::size() const { return impl_->threads.load(); }

void ThreadPool::resize(int threads) {
  if (threads < 1) threads = 1;
  if (threads > 256) threads = 256;
  std::lock_guard<std::mutex> region(impl_->region_mutex);
  impl_->stop_workers();
  impl_->threads = threads;
}

void ThreadPool::run(int64_t chunks, const std::function<void(int64_t)> &body) {
  if (chunks <= 0) return;
  Impl &pool = *impl_;
  if (inside_region || chunks == 1 || pool.threads.load(std::memory_order_relaxed) == 1) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) body(chunk);
    return;
  }
  std::lock_guard<std::mutex> region(pool.region_mutex);
  if (static_cast<int>(pool.workers.size()) != pool.threads.load() - 1) {
    pool.stop_workers();
    pool.start_workers(pool.threads.load() - 1);
  }
  pool.body = &body;
  pool.chunks = chunks;
  pool.caller_cpu = current_cpu();
  pool.next.store(0, std::memory_order_relaxed);
  pool.failed.store(false, std::memory_order_relaxed);
  pool.error = nullptr;
  {
    std::lock_guard<std::mutex> lock(pool.mutex);
    pool.gate.store((pool.region() + 1) << 16 | Impl::kOpen, std::memory_order_release);
  }
  pool.wake.notify_all();
  inside_region = true;
  pool.work();
  inside_region = false;
  pool.gate.fetch_and(~Impl::kOpen, std::memory_order_acq_rel);
  int spins = 0;
  while ((pool.gate.load(std::memory_order_acquire) & Impl::kInside) != 0) {
    cpu_relax();
    if (++spins > kSpins) std::this_thread::yield();
  }
  pool.body = nullptr;
  if (pool.error) std::rethrow_exception(pool.error);
}

}  // namespace wm
