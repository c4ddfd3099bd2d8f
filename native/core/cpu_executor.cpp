#include "native/core/cpu_executor.h"

#include <cstring>
#include <deque>

#include "native/core/arena.h"
#include "native/core/program.h"

namespace wm {

CpuExecutor::CpuExecutor() : Executor("cpu") { start(); }

CpuExecutor::~CpuExecutor() { close(); }

OpHandle CpuExecutor::find_op(const char *name) {
  const OpEntry *entry = find_cpu_op(name);
  if (entry == nullptr) fail(Status::usage, "the CPU back end has no op '%s'", name);
  return {entry->name, entry->flags, entry->function, nullptr};
}

std::shared_ptr<Storage> CpuExecutor::borrow(void *data, size_t bytes, void *stream, std::function<void()> released) {
  if (stream != nullptr) fail(Status::usage, "lent host memory has no stream: wait for its values and pass NULL");
  return std::make_shared<Storage>(data, bytes, std::move(released));
}

namespace {

// Memory of the arena for one command.
class Block {
 public:
  explicit Block(size_t bytes) : bytes_(bytes), data_(Arena::instance().allocate(bytes)) {}
  ~Block() { Arena::instance().release(data_, bytes_); }
  Block(const Block &) = delete;
  Block &operator=(const Block &) = delete;
  void *data() const { return data_; }

 private:
  size_t bytes_;
  void *data_;
};

// Where a kernel wants contiguous inputs, strided ones are gathered into scratch memory first.
void compute(const OpHandle &op, std::vector<TensorView> inputs, const std::vector<TensorView> &outputs,
             const std::vector<double> &attrs, const CancelToken *token) {
  std::deque<Block> gathered;
  for (TensorView &view : inputs) {
    if ((op.flags & kStrided) != 0 || !view.present() || view.contiguous()) continue;
    gathered.emplace_back(view.bytes());
    copy_contiguous(view, gathered.back().data());
    view.data = gathered.back().data();
    make_contiguous(view);
  }
  OpCall call(op.name, inputs.data(), static_cast<int>(inputs.size()), outputs.data(), static_cast<int>(outputs.size()),
              attrs.data(), static_cast<int>(attrs.size()), token);
  op.function(call);
}

}  // namespace

void CpuExecutor::execute_op(Command &command) {
  std::vector<TensorView> inputs, outputs;
  for (const StorageView &input : command.inputs) inputs.push_back(resolve(input));
  for (StorageView &output : command.outputs) {
    output.storage->allocate();
    outputs.push_back(resolve(output));
  }
  compute(command.op, inputs, outputs, command.attrs, command.token.get());
}

void CpuExecutor::execute_program(Command &command) {
  const Program &program = *command.program;
  command.op.name = program.name().c_str();  // for a failure before the first op
  const Block block(program.block_bytes());
  std::vector<uint8_t *> places;
  for (const Program::Value &value : program.values()) {
    switch (value.kind) {
      case Program::Kind::input: places.push_back(static_cast<uint8_t *>(resolve(command.inputs[value.place]).data)); break;
      case Program::Kind::output: {
        Storage &storage = *command.outputs[value.place].storage;
        storage.allocate();
        places.push_back(static_cast<uint8_t *>(storage.data()));
        break;
      }
      case Program::Kind::inner: places.push_back(static_cast<uint8_t *>(block.data()) + value.place); break;
      case Program::Kind::constant: places.push_back(static_cast<uint8_t *>(value.constant->data())); break;
    }
  }
  const auto views = [&](const std::vector<Program::Operand> &operands) {
    std::vector<TensorView> result;
    for (const Program::Operand &operand : operands) {
      result.push_back(operand.view);
      if (operand.value >= 0) result.back().data = places[static_cast<size_t>(operand.value)] + operand.offset;
    }
    return result;
  };
  for (const Program::Step &step : program.steps()) {
    command.op = step.op;
    if (command.token->cancelled()) throw Error(Status::aborted, "the call was aborted");
    compute(step.op, views(step.inputs), views(step.outputs), step.attrs, command.token.get());
  }
}

void CpuExecutor::execute_upload(Command &command) {
  const std::shared_ptr<Storage> &host = command.inputs[0].storage;
  if (!host) return;
  Storage &destination = *command.outputs[0].storage;
  destination.allocate();
  if (host->bytes() > 0) std::memcpy(destination.data(), host->data(), host->bytes());
}

void CpuExecutor::execute_read(Command &command) {
  if (command.destination != nullptr) copy_contiguous(resolve(command.inputs[0]), command.destination);
}

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
