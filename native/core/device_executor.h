// The executor of a device behind a module's table (backend.h). Its thread queues kernels and copies and goes on; a completion
// thread waits for what somebody waits for. Reads and uploads pass through page-locked memory in slices.
#pragma once

#include <atomic>
#include <map>

#include "native/core/completions.h"
#include "native/core/device_queue.h"
#include "native/core/executor.h"
#include "native/core/staging.h"
#include "native/core/verdicts.h"

namespace wm {

class DeviceProgram;
class DeviceScratch;

class DeviceExecutor final : public Executor {
 public:
  explicit DeviceExecutor(DeviceContext &device);
  ~DeviceExecutor() override;  // drains and joins

  OpHandle find_op(const char *name) override;
  std::shared_ptr<Storage> make_storage(size_t bytes) override { return std::make_shared<Storage>(bytes, queue_); }
  std::shared_ptr<Storage> borrow(void *data, size_t bytes, void *stream, std::function<void()> released) override;
  bool owns(const Storage &storage) const override { return storage.source() == queue_.get(); }
  void close() override;

 protected:
  void execute_op(Command &command) override;
  void execute_program(Command &command) override;  // device_program.cpp, as replay, run_list and capture
  void execute_upload(Command &command) override;
  void execute_read(Command &command) override;
  void complete(Completion done, std::shared_ptr<const Failure> failure) override;
  std::shared_ptr<const Failure> late_failure(const Storage &storage) const override;
  std::shared_ptr<const Failure> standing_failure() const override;
  // Remembers that the device is lost: everything queued from now on fails with the first text.
  void note(const Failure &failure) override;

 private:
  // Bytes of an op's scratch memory, of the op of a program that takes most.
  struct Needs {
    size_t gathered = 0;  // inputs made contiguous
    uint64_t workspace = 0;
  };

  // What the launch may turn out to have refused, or null.
  std::shared_ptr<const Doubts> launch(const OpHandle &op, const std::vector<TensorView> &inputs,
                                       const std::vector<TensorView> &outputs, const std::vector<double> &attrs,
                                       const DeviceScratch &scratch);
  // The view itself, or a contiguous copy at an address that any kernel can load vectors from.
  TensorView gathered(const TensorView &view, bool aligned, DeviceScratch &scratch);
  // One op of a program, on the stream of the scratch memory; returns what launch does.
  std::shared_ptr<const Doubts> run_step(const OpHandle &op, std::vector<TensorView> inputs,
                                         const std::vector<TensorView> &outputs, const std::vector<double> &attrs,
                                         DeviceScratch &scratch);
  bool replay(Command &command, DeviceProgram &state);
  Needs run_list(Command &command, bool measure);
  void capture(Command &command, const Needs &needs);
  void *upload_piece(uint64_t bytes);
  // Keeps the verdicts few where nobody waits for anything.
  void settle_at_times();
  // Calls it when the work queued so far is over.
  void after_work(std::function<void()> released);

  const std::shared_ptr<DeviceQueue> queue_;
  StagingRing in_, out_;
  std::deque<wm_event *> uploads_;  // behind each piece of in_ that is out; null where its copy failed
  Verdicts verdicts_;
  uint64_t settling_ = 0;                  // mark of the last settle_at_times
  std::shared_ptr<const Doubts> reading_;  // behind the values of the read before completion
  // What the copies of the read before completion have failed with; the completion thread's own.
  std::shared_ptr<Failure> read_failure_;
  std::mutex ops_mutex_;
  std::map<std::string, OpHandle> ops_;
  mutable std::mutex lost_mutex_;
  std::shared_ptr<const Failure> lost_;
  Completions completions_;
};

}  // namespace wm
