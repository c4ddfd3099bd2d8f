#include "native/core/executor.h"

#include <cstring>
#include <future>
#include <new>

#include "native/core/arena.h"

namespace wm {

Executor::Executor() : thread_([this] { main(); }) {}

Executor::~Executor() { close(); }

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

void Executor::push_op(const OpEntry *op, std::vector<StorageView> inputs, std::vector<double> attrs,
                       std::vector<StorageView> outputs, std::shared_ptr<CancelToken> token) {
  Command command;
  command.op = op;
  command.inputs = std::move(inputs);
  command.outputs = std::move(outputs);
  command.attrs = std::move(attrs);
  command.token = token ? std::move(token) : own_token_;
  push(std::move(command));
}

void Executor::push_read(StorageView source, void *destination, Completion done) {
  Command command;
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

void Executor::push_release(std::shared_ptr<Storage> storage) {
  Command command;
  command.released = std::move(storage);
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
  for (const StorageView &input : command.inputs) {
    if (input.storage && input.storage->failure()) return input.storage->failure();
  }
  return nullptr;
}

static std::string with_op_name(const OpEntry *op, const std::string &text) {
  if (op == nullptr || text.rfind(op->name, 0) == 0) return text;
  return std::string(op->name) + ": " + text;
}

void Executor::execute(Command &command) {
  if (command.released) {
    command.released.reset();
    return;
  }
  std::shared_ptr<const Failure> failure = input_failure(command);
  if (!failure) {
    try {
      if (command.op != nullptr) execute_op(command);
      else if (command.destination != nullptr) execute_read(command);
      // A lost page of a mapped file read as zeros: what was made of it is no value.
      for (const StorageView &input : command.inputs) {
        if (input.storage) input.storage->check_intact();
      }
    } catch (const Error &error) {
      failure = std::make_shared<Failure>(Failure{error.status(), with_op_name(command.op, error.what())});
    } catch (const std::bad_alloc &) {
      failure = std::make_shared<Failure>(Failure{Status::memory, with_op_name(command.op, "out of host memory")});
    } catch (const std::exception &error) {
      failure = std::make_shared<Failure>(Failure{Status::internal, with_op_name(command.op, error.what())});
    }
  }
  if (failure) {
    // Of an op that works in place this is its input too: half an update, or one that was left out, is no value.
    for (StorageView &output : command.outputs) output.storage->set_failure(failure);
  }
  // Leases end before the completion, so that a waiter sees the bytes returned.
  Completion done = std::move(command.done);
  command.inputs.clear();
  command.outputs.clear();
  if (done) done(failure.get());
}

namespace {

// Where a kernel wants contiguous inputs, strided ones are gathered into scratch memory first.
class ContiguousInputs {
 public:
  ~ContiguousInputs() {
    for (const auto &block : blocks_) Arena::instance().release(block.first, block.second);
  }
  void fix(TensorView &view) {
    if (!view.present() || view.contiguous()) return;
    const size_t bytes = view.bytes();
    void *data = Arena::instance().allocate(bytes);
    blocks_.emplace_back(data, bytes);
    copy_contiguous(view, data);
    view.data = data;
    int64_t step = 1;
    for (int i = view.ndim - 1; i >= 0; --i) {
      view.stride[i] = step;
      step *= view.shape[i];
    }
  }

 private:
  std::vector<std::pair<void *, size_t>> blocks_;
};

TensorView resolve(const StorageView &operand) {
  TensorView view = operand.view;
  if (operand.storage) {
    view.data = static_cast<uint8_t *>(operand.storage->data()) + operand.offset * static_cast<int64_t>(dtype_size(view.dtype));
  }
  return view;
}

}  // namespace

void Executor::execute_op(Command &command) {
  std::vector<TensorView> inputs, outputs;
  ContiguousInputs gathered;
  for (StorageView &input : command.inputs) {
    TensorView view = resolve(input);
    if ((command.op->flags & kStrided) == 0) gathered.fix(view);
    inputs.push_back(view);
  }
  for (StorageView &output : command.outputs) {
    output.storage->allocate();
    outputs.push_back(resolve(output));
  }
  OpCall call(command.op->name, inputs.data(), static_cast<int>(inputs.size()), outputs.data(),
              static_cast<int>(outputs.size()), command.attrs.data(), static_cast<int>(command.attrs.size()),
              command.token.get());
  command.op->function(call);
}

void Executor::execute_read(Command &command) { copy_contiguous(resolve(command.inputs[0]), command.destination); }

namespace {

template <class T>
void copy_rows(const TensorView &source, T *destination) {
  const T *base = source.as<const T>();
  const int last = source.ndim - 1;
  const int64_t width = source.shape[last];
  const int64_t step = source.stride[last];
  int64_t index[kMaxDims] = {};
  const int64_t rows = width == 0 ? 0 : source.numel() / width;
  for (int64_t row = 0; row < rows; ++row) {
    int64_t offset = 0;
    for (int i = 0; i < last; ++i) offset += index[i] * source.stride[i];
    const T *from = base + offset;
    if (step == 1) {
      std::memcpy(destination, from, static_cast<size_t>(width) * sizeof(T));
    } else {
      for (int64_t x = 0; x < width; ++x) destination[x] = from[x * step];
    }
    destination += width;
    for (int i = last - 1; i >= 0 && ++index[i] == source.shape[i]; --i) index[i] = 0;
  }
}

}  // namespace

void copy_contiguous(const TensorView &source, void *destination) {
  if (source.numel() == 0) return;
  if (source.contiguous()) {
    std::memcpy(destination, source.data, source.bytes());
    return;
  }
  switch (dtype_size(source.dtype)) {
    case 1: copy_rows(source, static_cast<uint8_t *>(destination)); break;
    case 2: copy_rows(source, static_cast<uint16_t *>(destination)); break;
    case 4: copy_rows(source, static_cast<uint32_t *>(destination)); break;
    default: copy_rows(source, static_cast<uint64_t *>(destination)); break;
  }
}

}  // namespace wm
