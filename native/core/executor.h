// One queue, one thread: commands run in the order in which they were pushed, so no dependency is tracked. This is the
// part that all devices share: the queue, failures that travel with the data, aborts, leases and the end of a queue. What a
// command does is the back end's: cpu_executor.h computes on the executor's thread, device_executor.h queues the work on a
// device and goes on.
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

#include "native/core/backend.h"
#include "native/core/gate.h"
#include "native/core/op.h"
#include "native/core/storage.h"

namespace wm {

// A storage seen through a view; `storage` null stands for an optional input that was not given.
struct StorageView {
  std::shared_ptr<Storage> storage;
  int64_t offset = 0;  // elements
  TensorView view;     // data is filled in when the command runs
};

// An op as one back end knows it; the name lives as long as the executor.
struct OpHandle {
  const char *name = nullptr;
  uint32_t flags = 0;
  OpFunction function = nullptr;           // of the CPU
  const wm_backend_op *device = nullptr;   // of a module
};

using Completion = std::function<void(const Failure *)>;

class Program;

class Executor {
 public:
  virtual ~Executor();
  Executor(const Executor &) = delete;
  Executor &operator=(const Executor &) = delete;

  // "cpu", "cuda:0"
  const std::string &device() const { return device_; }
  // Throws Status::usage for a name that no card has, Status::device where this device has no kernel for it.
  virtual OpHandle find_op(const char *name) = 0;
  // A storage of this device, its memory following in queue order.
  virtual std::shared_ptr<Storage> make_storage(size_t bytes) = 0;
  // Memory of this device that stays the lender's: nobody changes it until `released` runs, behind the work that reads it.
  // What is queued from now on waits for the lender's native stream (null: nothing to wait for). Throws Status::device.
  virtual std::shared_ptr<Storage> borrow(void *data, size_t bytes, void *stream, std::function<void()> released) = 0;
  // Whether commands of this queue may read the storage.
  virtual bool owns(const Storage &storage) const = 0;

  // Output storages must have the bytes of `outputs`. The token may be null.
  void push_op(const OpHandle &op, std::vector<StorageView> inputs, std::vector<double> attrs,
               std::vector<StorageView> outputs, std::shared_ptr<CancelToken> token);
  // Runs a Program (program.h) as one command: an input and an output for each of its own, output storages of its values' bytes.
  void push_program(std::shared_ptr<Program> program, std::vector<StorageView> inputs, std::vector<StorageView> outputs,
                    std::shared_ptr<CancelToken> token);
  // Fills `destination` from host memory once the gate opens (null: at once). Without a host storage the gate's opener
  // fills it, and later commands wait for that.
  void push_upload(std::shared_ptr<Storage> host, std::shared_ptr<Storage> destination, std::shared_ptr<Gate> gate);
  // Copies the view, made contiguous, to `destination` on the host; then calls `done` on a thread of this executor. Without a
  // destination it only waits for the view's values.
  void push_read(StorageView source, void *destination, Completion done);
  void push_fence(Completion done);
  // Drops the reference once everything before it has run. After close() it is dropped at once.
  void push_release(std::shared_ptr<void> released);
  // Waits on the calling thread until the queue is empty.
  void synchronise();
  // Marks the queue as ending: pending ops are skipped, their leases dropped, completions called with Status::aborted. The
  // op that runs ends at its next chunk. Returns once all of that has happened.
  virtual void close();

 protected:
  struct Command {
    enum class Kind { op, program, upload, read, fence, release };
    Kind kind = Kind::fence;
    OpHandle op;  // of a program the one that runs, for its failure
    std::shared_ptr<Program> program;
    std::vector<StorageView> inputs;
    std::vector<StorageView> outputs;
    std::vector<double> attrs;
    std::shared_ptr<CancelToken> token;
    std::shared_ptr<Gate> gate;
    void *destination = nullptr;
    Completion done;
    std::shared_ptr<void> released;
  };

  explicit Executor(std::string device) : device_(std::move(device)) {}
  // For the end of a constructor: from here on the functions below are called.
  void start();

  // On the executor's thread. What they throw becomes the failure of the command's outputs.
  virtual void execute_op(Command &command) = 0;
  virtual void execute_program(Command &command) = 0;
  virtual void execute_upload(Command &command) = 0;
  virtual void execute_read(Command &command) = 0;
  // Calls `done` when the work queued so far is over; `failure` may be null.
  virtual void complete(Completion done, std::shared_ptr<const Failure> failure) = 0;
  // Hears of every failure.
  virtual void note(const Failure &) {}
  // What is known by now to have gone wrong with values behind the storage, or null.
  virtual std::shared_ptr<const Failure> late_failure(const Storage &) const { return nullptr; }
  // Why nothing can run any more, or null.
  virtual std::shared_ptr<const Failure> standing_failure() const { return nullptr; }
  // Remembers a Program that has a state now, which goes first when memory is short.
  void has_state(const std::shared_ptr<Program> &program);

 private:
  void push(Command command);
  void main();
  void execute(Command &command);
  std::shared_ptr<const Failure> attempt(Command &command);
  void run_command(Command &command);
  // Whether there was any.
  bool drop_states();
  std::shared_ptr<const Failure> input_failure(const Command &command) const;

  const std::string device_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Command> queue_;
  bool stopping_ = false;
  std::atomic<bool> closing_{false};
  // Of commands that came without one, and of the command that runs.
  const std::shared_ptr<CancelToken> own_token_ = std::make_shared<CancelToken>();
  std::shared_ptr<CancelToken> running_;
  std::vector<std::weak_ptr<Program>> programs_;  // the executor thread's own
  std::thread thread_;
};

// The view with its data pointer.
TensorView resolve(const StorageView &operand);
// Strides of a contiguous tensor.
void make_contiguous(TensorView &view);

}  // namespace wm
