#include "native/core/completions.h"

namespace wm {

Completions::Completions(DeviceQueue &queue, Follow failed)
    : queue_(queue), failed_(std::move(failed)), thread_([this] { main(); }) {}

void Completions::push(wm_event *event, Follow follow) {
  Task task{event, std::move(follow)};
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!ended_) {
      tasks_.push_back(std::move(task));
      wake_.notify_one();
      return;
    }
  }
  perform(std::move(task));
}

void Completions::close() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Completions::main() {
  for (;;) {
    Task task;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
      if (tasks_.empty()) {
        ended_ = true;
        return;
      }
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    perform(std::move(task));
  }
}

void Completions::perform(Task task) {
  std::unique_ptr<Failure> failure;
  if (task.event != nullptr) {
    const wm_status status = queue_.table().event_synchronise(task.event);
    if (status != WM_OK) {
      try {
        queue_.device().check(status, "waiting for the device");
      } catch (const Error &error) {
        failure.reset(new Failure{error.status(), error.what()});
      }
      failed_(failure.get());
    }
    queue_.give_event(task.event);
  }
  task.follow(failure.get());
}

}  // namespace wm
