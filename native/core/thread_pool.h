// The process-wide pool behind every CPU kernel. Work is cut into chunks by the problem alone, never by the
// number of threads, so results do not depend on it. Workers spin for a short while, then sleep.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

namespace wm {

class ThreadPool {
 public:
  static ThreadPool &instance();

  // Threads that take part in a parallel region, the calling one included (1 .. 256).
  int size() const;
  // Takes effect at the next region. Default: WORDMASK_THREADS, else the CPUs this process may use.
  void resize(int threads);

  // Calls body(chunk) for chunk = 0 .. chunks-1 in any order on any thread; returns when all are done.
  // The first exception of a chunk is rethrown here. Regions of concurrent callers run one after another;
  // a region started from inside a chunk runs on the calling thread alone.
  void run(int64_t chunks, const std::function<void(int64_t)> &body);

 private:
  ThreadPool();
  ~ThreadPool();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace wm
