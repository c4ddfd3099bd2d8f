// What a device has yet to say about the values that its ops were given. The kernels of an op meet an index out of range after
// the executor has gone on, so everything computed from its outputs is in doubt until a wait that happens anyway has
// passed the op; whoever reads such values then gets the failure in their place, and nobody else hears of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "native/core/device_queue.h"
#include "native/core/storage.h"

namespace wm {

// One op in doubt. Read without a lock: the failure is there before `settled` is.
class Doubt {
 public:
  explicit Doubt(uint64_t number) : number_(number) {}
  uint64_t number() const { return number_; }
  bool settled() const { return settled_.load(std::memory_order_acquire); }
  // Null while the device has not said, and where it took the values.
  std::shared_ptr<const Failure> failure() const { return settled() ? failure_ : nullptr; }
  void settle(std::shared_ptr<const Failure> failure) {
    failure_ = std::move(failure);
    settled_.store(true, std::memory_order_release);
  }

 private:
  const uint64_t number_;
  std::shared_ptr<const Failure> failure_;
  std::atomic<bool> settled_{false};
};

// Ops in doubt behind some values, in the order of their calls.
class Doubts {
 public:
  // Those of both that are not settled well, and `own` where it is given. Null: none.
  static std::shared_ptr<const Doubts> join(const std::shared_ptr<const Doubts> &a, const std::shared_ptr<const Doubts> &b);
  static std::shared_ptr<const Doubts> of(std::shared_ptr<const Doubt> doubt);
  // Of the first that the device refused, as far as it has said.
  std::shared_ptr<const Failure> failure() const;

 private:
  void add(const std::shared_ptr<const Doubt> &doubt);
  std::vector<std::shared_ptr<const Doubt>> list_;
};

// The verdicts of one queue that are open.
class Verdicts {
 public:
  explicit Verdicts(DeviceQueue &queue);
  ~Verdicts();
  Verdicts(const Verdicts &) = delete;
  Verdicts &operator=(const Verdicts &) = delete;

  // What the last launch left, or null. On the executor's thread, as is last().
  std::shared_ptr<const Doubts> take();
  // A mark behind all launches so far.
  uint64_t last() const { return last_; }
  // The compute stream has passed everything up to the mark. Any thread.
  void settle(uint64_t mark);
  // How many nobody has settled.
  size_t open() const;

 private:
  struct Open {
    wm_verdict *verdict;
    std::shared_ptr<Doubt> doubt;
  };
  DeviceQueue &queue_;
  const bool offered_;
  uint64_t last_ = 0;
  mutable std::mutex mutex_;
  std::deque<Open> open_;
};

}  // namespace wm
