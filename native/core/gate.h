// Where one queue waits for another: opened once, with the failure of what it stood for, if any. Commands wait for work that
// was queued before them alone, so queues that wait for each other come to an end.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>

#include "native/core/storage.h"

namespace wm {

class Gate {
 public:
  void open(const Failure *failure) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      open_ = true;
      if (failure != nullptr) failure_ = std::make_shared<Failure>(*failure);
    }
    changed_.notify_all();
  }

  // Throws what the work failed with.
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return open_; });
    if (failure_) throw Error(failure_->status, failure_->text);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  std::shared_ptr<const Failure> failure_;
};

}  // namespace wm
