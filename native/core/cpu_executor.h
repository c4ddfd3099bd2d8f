// The CPU's executor: a command runs on the executor's thread, each op spread over the shared thread pool.
#pragma once

#include "native/core/executor.h"

namespace wm {

class CpuExecutor final : public Executor {
 public:
  CpuExecutor();
  ~CpuExecutor() override;  // drains and joins

  OpHandle find_op(const char *name) override;
  std::shared_ptr<Storage> make_storage(size_t bytes) override { return std::make_shared<Storage>(bytes); }
  std::shared_ptr<Storage> borrow(void *data, size_t bytes, void *stream, std::function<void()> released) override;
  bool owns(const Storage &storage) const override { return storage.source() == nullptr; }

 protected:
  void execute_op(Command &command) override;
  void execute_program(Command &command) override;
  void execute_upload(Command &command) override;
  void execute_read(Command &command) override;
  void complete(Completion done, std::shared_ptr<const Failure> failure) override { done(failure.get()); }
};

// Copies a strided view into contiguous memory (any dtype).
void copy_contiguous(const TensorView &source, void *destination);

}  // namespace wm
