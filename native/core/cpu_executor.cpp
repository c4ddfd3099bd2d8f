#include "native/core/cpu_executor.h"

#include <cstring>

#include "native/core/arena.h"

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
    make_contiguous(view);
  }

 private:
  std::vector<std::pair<void *, size_t>> blocks_;
};

}  // namespace

void CpuExecutor::execute_op(Command &command) {
  std::vector<TensorView> inputs, outputs;
  ContiguousInputs gathered;
  for (StorageView &input : command.inputs) {
    TensorView view = resolve(input);
    if ((command.op.flags & kStrided) == 0) gathered.fix(view);
    inputs.push_back(view);
  }
  for (StorageView &output : command.outputs) {
    output.storage->allocate();
    outputs.push_back(resolve(output));
  }
  OpCall call(command.op.name, inputs.data(), static_cast<int>(inputs.size()), outputs.data(),
              static_cast<int>(outputs.size()), command.attrs.data(), static_cast<int>(command.attrs.size()),
              command.token.get());
  command.op.function(call);
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
