#include "native/core/executor.h"

#include <algorithm>
#include <future>
#include <new>

#include "native/core/program.h"

namespace wm {

Executor::~Executor() = default;

void Executor::start() {
  thread_ = std::thread([this] { main(); });
}

void Executor::close() {
  closing_.store(true);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    if (running_) running_->cancel();
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Executor::push(Command command) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!stopping_) {
      queue_.push_back(std::move(command));
      wake_.notify_one();
      return;
    }
  }
  if (command.done) {
    const Failure failure{Status::disposed, "the device queue is closed"};
    command.done(&failure);
  }
}

void Executor::push_op(const OpHandle &op, std::vector<StorageView> inputs, std::vector<double> attrs,
                       std::vector<StorageView> outputs, std::shared_ptr<CancelToken> token) {
  Command command;
  command.kind = Command::Kind::op;
  command.op = op;
  command.inputs = std::move(inputs);
  command.outputs = std::move(outputs);
  command.attrs = std::move(attrs);
  command.token = token ? std::move(token) : own_token_;
  push(std::move(command));
}

void Executor::push_program(std::shared_ptr<Program> program, std::vector<StorageView> inputs,
                            std::vector<StorageView> outputs, std::shared_ptr<CancelToken> token) {
  Command command;
  command.kind = Command::Kind::program;
  command.program = std::move(program);
  command.inputs = std::move(inputs);
  command.outputs = std::move(outputs);
  command.token = token ? std::move(token) : own_token_;
  push(std::move(command));
}

void Executor::push_upload(std::shared_ptr<Storage> host, std::shared_ptr<Storage> destination,
                           std::shared_ptr<Gate> gate) {
  Command command;
  command.kind = Command::Kind::upload;
  command.inputs.resize(1);
  command.inputs[0].storage = std::move(host);
  command.outputs.resize(1);
  command.outputs[0].storage = std::move(destination);
  command.gate = std::move(gate);
  push(std::move(command));
}

void Executor::push_read(StorageView source, void *destination, Completion done) {
  Command command;
  command.kind = Command::Kind::read;
  command.inputs.push_back(std::move(source));
  command.destination = destination;
  command.done = std::move(done);
  push(std::move(command));
}

void Executor::push_fence(Completion done) {
  Command command;
  command.done = std::move(done);
  push(std::move(command));
}

void Executor::push_release(std::shared_ptr<void> released) {
  Command command;
  command.kind = Command::Kind::release;
  command.released = std::move(released);
  push(std::move(command));
}

void Executor::synchronise() {
  auto promise = std::make_shared<std::promise<void>>();
  push_fence([promise](const Failure *) { promise->set_value(); });
  promise->get_future().wait();
}

void Executor::main() {
  for (;;) {
    Command command;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      command = std::move(queue_.front());
      queue_.pop_front();
      running_ = command.token;
    }
    execute(command);
  }
}

std::shared_ptr<const Failure> Executor::input_failure(const Command &command) const {
  if (closing_.load(std::memory_order_relaxed)) {
    return std::make_shared<Failure>(Failure{Status::aborted, "the environment is shutting down"});
  }
  if (command.token && command.token->cancelled()) {
    return std::make_shared<Failure>(Failure{Status::aborted, "the call was aborted"});
  }
  const auto failure_of = [this](const std::shared_ptr<Storage> &storage) -> std::shared_ptr<const Failure> {
    if (!storage) return nullptr;
    return storage->failure() ? storage->failure() : late_failure(*storage);
  };
  for (const StorageView &input : command.inputs) {
    if (auto failure = failure_of(input.storage)) return failure;
  }
  if (command.program) {
    for (const Program::Value &value : command.program->values()) {
      if (auto failure = failure_of(value.constant)) return failure;
    }
  }
  return standing_failure();
}

static std::string with_op_name(const OpHandle &op, const std::string &text) {
  if (op.name == nullptr || text.rfind(op.name, 0) == 0) return text;
  return std::string(op.name) + ": " + text;
}

void Executor::run_command(Command &command) {
  switch (command.kind) {
    case Command::Kind::op: execute_op(command); break;
    case Command::Kind::program: execute_program(command); break;
    case Command::Kind::upload:
      if (command.gate) command.gate->wait();
      execute_upload(command);
      break;
    case Command::Kind::read: execute_read(command); break;
    case Command::Kind::fence:
    case Command::Kind::release: break;
  }
  // A lost page of a mapped file read as zeros: what was made of it is no value.
  for (const StorageView &input : command.inputs) {
    if (input.storage) input.storage->check_intact();
  }
  if (!command.program) return;
  for (const Program::Value &value : command.program->values()) {
    if (value.constant) value.constant->check_intact();
  }
}

void Executor::has_state(const std::shared_ptr<Program> &program) {
  const auto gone = [](const std::weak_ptr<Program> &other) { return other.expired(); };
  programs_.erase(std::remove_if(programs_.begin(), programs_.end(), gone), programs_.end());
  programs_.push_back(program);
}

bool Executor::drop_states() {
  bool any = false;
  for (const std::weak_ptr<Program> &known : programs_) {
    const std::shared_ptr<Program> program = known.lock();
    if (!program || !program->state) continue;
    program->state.reset();
    any = true;
  }
  programs_.clear();
  return any;
}

std::shared_ptr<const Failure> Executor::attempt(Command &command) {
  try {
    run_command(command);
    return nullptr;
  } catch (const Error &error) {
    return std::make_shared<Failure>(Failure{error.status(), with_op_name(command.op, error.what())});
  } catch (const std::bad_alloc &) {
    return std::make_shared<Failure>(Failure{Status::memory, with_op_name(command.op, "out of host memory")});
  } catch (const std::exception &error) {
    return std::make_shared<Failure>(Failure{Status::internal, with_op_name(command.op, error.what())});
  }
}

void Executor::execute(Command &command) {
  if (command.kind == Command::Kind::release) {
    command.released.reset();
    return;
  }
  std::shared_ptr<const Failure> failure = input_failure(command);
  if (!failure) failure = attempt(command);
  // Blocks of Programs go first. What works in place is not run twice: half of an update may be done.
  const bool again = command.kind == Command::Kind::program ||
                     (command.kind == Command::Kind::op && (command.op.flags & (kInPlace | kInPlaceAll)) == 0);
  if (failure && failure->status == Status::memory && again && drop_states()) failure = attempt(command);
  if (failure) {
    note(*failure);
    // Of an op that works in place this is its input too: half an update, or one that was left out, is no value.
    for (StorageView &output : command.outputs) output.storage->set_failure(failure);
  }
  // Leases end before the completion, so that a waiter sees the bytes returned.
  Completion done = std::move(command.done);
  command.inputs.clear();
  command.outputs.clear();
  command.program.reset();
  if (done) complete(std::move(done), std::move(failure));
}

TensorView resolve(const StorageView &operand) {
  TensorView view = operand.view;
  if (operand.storage) {
    view.data = static_cast<uint8_t *>(operand.storage->data()) + operand.offset * static_cast<int64_t>(dtype_size(view.dtype));
  }
  return view;
}

void make_contiguous(TensorView &view) {
  int64_t step = 1;
  for (int i = view.ndim - 1; i >= 0; --i) {
    view.stride[i] = step;
    step *= view.shape[i];
  }
}

}  // namespace wm
