// The thread that waits for a device, so that an executor's own thread never does: it takes events in the order in which they
// were recorded and runs what was to follow each.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "native/core/device_queue.h"

namespace wm {

class Completions {
 public:
  // Gets null, or why the device could not be waited for. Must not throw.
  using Follow = std::function<void(const Failure *)>;

  // `failed` hears of every failed wait.
  Completions(DeviceQueue &queue, Follow failed);
  ~Completions() { close(); }
  Completions(const Completions &) = delete;
  Completions &operator=(const Completions &) = delete;

  // Takes the event over; null: `follow` runs when its turn comes. After close() it is waited for here.
  void push(wm_event *event, Follow follow);
  // Runs what was pushed, then ends.
  void close();

 private:
  struct Task {
    wm_event *event;
    Follow follow;
  };
  void main();
  void perform(Task task);

  DeviceQueue &queue_;
  const Follow failed_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Task> tasks_;
  bool stopping_ = false, ended_ = false;
  std::thread thread_;
};

}  // namespace wm
