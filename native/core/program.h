// Work of repeating shape: ops recorded once, run from then on as one command of the queue. Inputs and outputs are bound at
// each run; what lies between has its place in one block, chosen by lifetime; everything else that the ops read (weights,
// tables) is held by the Program, at its address. Shapes, attributes and constants are part of the recording.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "native/core/executor.h"

namespace wm {

// What an executor keeps with a Program: the memory and the graph of a device.
class ProgramState {
 public:
  virtual ~ProgramState() = default;
};

class Program {
 public:
  enum class Kind { input, output, inner, constant };
  struct Value {
    Kind kind = Kind::inner;
    size_t bytes = 0;
    // Of an input or output its number; of what lies between its first byte in the block.
    size_t place = 0;
    std::shared_ptr<Storage> constant;
  };
  // A view of a value; `value` is -1 for an optional input that was not given.
  struct Operand {
    int32_t value = -1;
    int64_t offset = 0;  // bytes from the value's first
    TensorView view;     // without data
  };
  struct Step {
    OpHandle op;
    std::vector<Operand> inputs, outputs;
    std::vector<double> attrs;
  };
  // What is asked of an input at each run.
  struct Slot {
    int32_t value;
    TensorView view;  // contiguous
  };

  const std::string &name() const { return name_; }
  const std::vector<Value> &values() const { return values_; }
  const std::vector<Step> &steps() const { return steps_; }
  const std::vector<Slot> &inputs() const { return inputs_; }
  // Values of the outputs, each once.
  const std::vector<int32_t> &outputs() const { return outputs_; }
  // Of the values between inputs and outputs.
  size_t block_bytes() const { return block_bytes_; }

  // The executor's own, on its thread.
  std::unique_ptr<ProgramState> state;

 private:
  friend class ProgramRecorder;
  std::string name_;
  std::vector<Value> values_;
  std::vector<Step> steps_;
  std::vector<Slot> inputs_;
  std::vector<int32_t> outputs_;
  size_t block_bytes_ = 0;
};

// Notes ops while they are queued. Its storages are known by identity and not kept alive, constants apart.
class ProgramRecorder {
 public:
  // Throws Status::usage unless each input is contiguous and on a storage of its own.
  ProgramRecorder(std::string name, const std::vector<StorageView> &inputs);

  // Throws Status::usage for an op that works in place: its input would not be what it was at the next run.
  void note(const OpHandle &op, const std::vector<StorageView> &inputs, const std::vector<double> &attrs,
            const std::vector<StorageView> &outputs);
  // Throws Status::usage unless every output was made by an op of the recording. `which` receives for each the number of its
  // value in Program::outputs(). The recorder is of no use afterwards.
  std::shared_ptr<Program> finish(const std::vector<StorageView> &outputs, std::vector<int32_t> &which);

 private:
  int32_t add(const std::shared_ptr<Storage> &storage, Program::Kind kind, size_t bytes, size_t place);
  Program::Operand operand(const StorageView &view);
  void lay_out();

  std::shared_ptr<Program> program_ = std::make_shared<Program>();
  // The memory of a storage's handle is not used again while a weak reference holds on to it.
  std::map<std::weak_ptr<Storage>, int32_t, std::owner_less<std::weak_ptr<Storage>>> known_;
  std::vector<int64_t> bases_;  // of inputs: first byte in their storage
};

}  // namespace wm
