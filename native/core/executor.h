// One queue, one thread: commands run in the order in which they were pushed. Ops of one executor never overlap, so no
// dependency is tracked; each op spreads over the shared thread pool.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "native/core/op.h"
#include "native/core/storage.h"

namespace wm {

// A storage seen through a view; `storage` null stands for an optional input that was not given.
struct StorageView {
  std::shared_ptr<Storage> storage;
  int64_t offset = 0;  // elements
  TensorView view;     // data is filled in when the command runs
};

using Completion = std::function<void(const Failure *)>;

class Executor {
 public:
  Executor();
  ~Executor();  // drains and joins

  // Output storages must have the bytes of `outputs`. The token may be null.
  void push_op(const OpEntry *op, std::vector<StorageView> inputs, std::vector<double> attrs, std::vector<StorageView> outputs,
               std::shared_ptr<CancelToken> token);
  // Copies the view, made contiguous, to `destination`; then calls `done` on this executor's thread.
  void push_read(StorageView source, void *destination, Completion done);
  void push_fence(Completion done);
  // Drops the reference once everything before it has run. After close() it is dropped at once.
  void push_release(std::shared_ptr<Storage> storage);
  // Waits on the calling thread until the queue is empty.
  void synchronise();
  // Marks the queue as ending: pending ops are skipped, their leases dropped, completions called with Status::aborted. The
  // op that runs ends at its next chunk.
  void close();

 private:
  struct Command {
    const OpEntry *op = nullptr;
    std::vector<StorageView> inputs;
    std::vector<StorageView> outputs;
    std::vector<double> attrs;
    std::shared_ptr<CancelToken> token;
    void *destination = nullptr;
    Completion done;
    std::shared_ptr<Storage> released;
  };

  void push(Command command);
  void main();
  void execute(Command &command);
  void execute_op(Command &command);
  void execute_read(Command &command);
  std::shared_ptr<const Failure> input_failure(const Command &command) const;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Command> queue_;
  bool stopping_ = false;
  std::atomic<bool> closing_{false};
  // Of commands that came without one, and of the command that runs.
  const std::shared_ptr<CancelToken> own_token_ = std::make_shared<CancelToken>();
  std::shared_ptr<CancelToken> running_;
  std::thread thread_;
};

// Copies a strided view into contiguous memory (any dtype).
void copy_contiguous(const TensorView &source, void *destination);

}  // namespace wm
