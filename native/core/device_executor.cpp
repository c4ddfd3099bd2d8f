#include "native/core/device_executor.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "native/core/device_scratch.h"

namespace wm {

namespace {

// Smaller reads stay on the compute stream: two events would cost more than the overlap gives.
constexpr uint64_t kSmallRead = uint64_t{64} << 10;
// Uploads that are remembered as under way; many small ones would else keep thousands of events.
constexpr size_t kMostUploads = 64;
// Verdicts behind which an event of their own is recorded, where no read comes by.
constexpr uint64_t kOpenVerdicts = 64;
// Vector loads of kernels.
constexpr uintptr_t kAlignment = 16;

const wm_tensor_view *views_of(const std::vector<TensorView> &views) {
  return reinterpret_cast<const wm_tensor_view *>(views.data());  // of one layout: backend_loader.cpp
}

}  // namespace

DeviceExecutor::DeviceExecutor(DeviceContext &device)
    : Executor(device.name()), queue_(std::make_shared<DeviceQueue>(device)), in_(device), out_(device),
      verdicts_(*queue_), completions_(*queue_, [this](const Failure *failure) { note(*failure); }) {
  start();
}

DeviceExecutor::~DeviceExecutor() { close(); }

void DeviceExecutor::close() {
  Executor::close();
  completions_.close();
  for (wm_event *event : uploads_) {
    if (event == nullptr) continue;
    queue_->table().event_synchronise(event);
    queue_->give_event(event);
  }
  uploads_.clear();
}

OpHandle DeviceExecutor::find_op(const char *name) {
  std::lock_guard<std::mutex> lock(ops_mutex_);
  const auto found = ops_.find(name);
  if (found != ops_.end()) return found->second;
  if (find_cpu_op(name) == nullptr) fail(Status::usage, "no back end has an op '%s'", name);
  OpHandle op;
  op.device = queue_->table().op_find(name, &op.flags);
  if (op.device == nullptr) {
    fail(Status::device, "%s: device %s has no kernel for this op: run it on another device", name, device().c_str());
  }
  const auto placed = ops_.emplace(name, op).first;
  placed->second.name = placed->first.c_str();
  return placed->second;
}

std::shared_ptr<Storage> DeviceExecutor::borrow(void *data, size_t bytes, void *stream, std::function<void()> released) {
  const wm_backend &table = queue_->table();
  if (table.size < offsetof(wm_backend, memory_borrow) + sizeof table.memory_borrow || table.memory_borrow == nullptr) {
    fail(Status::device, "device %s does not take memory of others: hand over host memory", device().c_str());
  }
  if (bytes > 0 || stream != nullptr) {
    queue_->device().check(table.memory_borrow(queue_->compute(), data, bytes, stream), "lent memory");
  }
  return std::make_shared<Storage>(data, bytes, [this, released = std::move(released)] { after_work(released); }, queue_);
}

void DeviceExecutor::after_work(std::function<void()> released) {
  wm_event *event = nullptr;
  try {
    event = queue_->record(queue_->compute());
  } catch (const Error &error) {
    // Of a device that is lost, which reads nothing any more.
    note(Failure{error.status(), error.what()});
  }
  // Reads on the copy stream have their turn before this one.
  completions_.push(event, [released = std::move(released)](const Failure *) { released(); });
}

void DeviceExecutor::note(const Failure &failure) {
  if (failure.status != Status::device_lost) return;
  std::lock_guard<std::mutex> lock(lost_mutex_);
  if (!lost_) lost_ = std::make_shared<Failure>(failure);
}

std::shared_ptr<const Failure> DeviceExecutor::late_failure(const Storage &storage) const {
  return storage.doubts() ? storage.doubts()->failure() : nullptr;
}

std::shared_ptr<const Failure> DeviceExecutor::standing_failure() const {
  std::lock_guard<std::mutex> lock(lost_mutex_);
  return lost_;
}

std::shared_ptr<const Doubts> DeviceExecutor::launch(const OpHandle &op, const std::vector<TensorView> &inputs,
                                                     const std::vector<TensorView> &outputs,
                                                     const std::vector<double> &attrs, const DeviceScratch &scratch) {
  std::shared_ptr<const Doubts> doubts;
  const auto call = [&] {
    const wm_status status = queue_->table().op_launch(
        queue_->device().context(), op.device, scratch.stream(), views_of(inputs), static_cast<int32_t>(inputs.size()),
        views_of(outputs), static_cast<int32_t>(outputs.size()), attrs.data(), static_cast<int32_t>(attrs.size()));
    if (!scratch.captures()) doubts = Doubts::join(doubts, verdicts_.take());
    return status;
  };
  wm_status status = call();
  // Half of an update may be done: what works in place is not run twice. A capture allocates nothing.
  if (status == WM_ERR_MEMORY && !scratch.captures() && (op.flags & (kInPlace | kInPlaceAll)) == 0) {
    queue_->trim();
    status = call();
  }
  queue_->device().check(status, op.name);
  return doubts;
}

void DeviceExecutor::settle_at_times() {
  const uint64_t mark = verdicts_.last();
  if (mark < settling_ + kOpenVerdicts) return;
  settling_ = mark;
  completions_.push(queue_->record(queue_->compute()), [this, mark](const Failure *) { verdicts_.settle(mark); });
}

TensorView DeviceExecutor::gathered(const TensorView &view, bool aligned, DeviceScratch &scratch) {
  const bool reachable = !aligned || reinterpret_cast<uintptr_t>(view.data) % kAlignment == 0;
  if (!view.present() || view.numel() == 0 || (view.contiguous() && reachable)) return view;
  TensorView copy = view;
  make_contiguous(copy);
  copy.data = scratch.take(view.bytes());
  launch(find_op("copy"), {view}, {copy}, {}, scratch);
  return copy;
}

std::shared_ptr<const Doubts> DeviceExecutor::run_step(const OpHandle &op, std::vector<TensorView> inputs,
                                                       const std::vector<TensorView> &outputs,
                                                       const std::vector<double> &attrs, DeviceScratch &scratch) {
  for (TensorView &input : inputs) {
    if ((op.flags & kStrided) == 0) input = gathered(input, true, scratch);
  }
  return launch(op, inputs, outputs, attrs, scratch);
}

void DeviceExecutor::execute_op(Command &command) {
  const OpHandle &op = command.op;
  const size_t in_place = (op.flags & kInPlaceAll) != 0 ? command.outputs.size() : (op.flags & kInPlace) != 0 ? 1 : 0;
  DeviceScratch scratch(*queue_);
  std::vector<TensorView> inputs, outputs;
  for (size_t i = 0; i < command.inputs.size(); ++i) {
    const TensorView view = resolve(command.inputs[i]);
    const bool as_it_is = i < in_place || (op.flags & kStrided) != 0;
    inputs.push_back(as_it_is ? view : gathered(view, true, scratch));
  }
  for (size_t i = 0; i < command.outputs.size(); ++i) {
    Storage &storage = *command.outputs[i].storage;
    if (i < in_place && storage.read_aside()) {
      queue_->order(queue_->compute(), queue_->copy_out());
      storage.set_read_aside(false);
    }
    storage.allocate();
    outputs.push_back(resolve(command.outputs[i]));
  }
  // Gathering inputs may have taken its time.
  if (command.token && command.token->cancelled()) throw Error(Status::aborted, "the call was aborted");
  std::shared_ptr<const Doubts> doubts = launch(op, inputs, outputs, command.attrs, scratch);
  for (const StorageView &input : command.inputs) {
    if (input.storage) doubts = Doubts::join(doubts, input.storage->doubts());
  }
  for (const StorageView &output : command.outputs) output.storage->set_doubts(doubts);
  settle_at_times();
}

// A piece of page-locked memory, waiting for the oldest upload where all is taken.
void *DeviceExecutor::upload_piece(uint64_t bytes) {
  for (;;) {
    void *piece = uploads_.size() < kMostUploads ? in_.try_take(bytes) : nullptr;
    if (piece != nullptr) return piece;
    wm_event *oldest = uploads_.front();
    uploads_.pop_front();
    const wm_status status = oldest != nullptr ? queue_->table().event_synchronise(oldest) : WM_OK;
    if (oldest != nullptr) queue_->give_event(oldest);
    in_.give_back();
    queue_->device().check(status, "waiting for an upload");
  }
}

void DeviceExecutor::execute_upload(Command &command) {
  const Storage &host = *command.inputs[0].storage;
  Storage &destination = *command.outputs[0].storage;
  if (destination.bytes() == 0) return;
  // Allocated on the copy stream, so that the copy need not wait for the kernels queued before.
  destination.adopt(queue_->allocate_on(queue_->copy_in(), destination.bytes()));
  for (uint64_t at = 0; at < destination.bytes(); at += StagingRing::kSlice) {
    const uint64_t bytes = std::min<uint64_t>(StagingRing::kSlice, destination.bytes() - at);
    void *piece = upload_piece(bytes);
    std::memcpy(piece, static_cast<const uint8_t *>(host.data()) + at, bytes);
    uploads_.push_back(nullptr);
    auto *to = static_cast<uint8_t *>(destination.data()) + at;
    queue_->device().check(queue_->table().copy_in(queue_->copy_in(), to, piece, bytes), "a copy to the device");
    uploads_.back() = queue_->record(queue_->copy_in());
  }
  queue_->order(queue_->compute(), queue_->copy_in());
}

void DeviceExecutor::execute_read(Command &command) {
  Storage &storage = *command.inputs[0].storage;
  TensorView view = resolve(command.inputs[0]);
  reading_ = storage.doubts();
  const uint64_t total = view.bytes();
  if (total == 0 || command.destination == nullptr) return;
  DeviceScratch scratch(*queue_);
  const bool copied = !view.contiguous();
  view = gathered(view, false, scratch);
  wm_stream *stream = queue_->compute();
  if (total > kSmallRead) {
    stream = queue_->copy_out();
    queue_->order(stream, queue_->compute());
    if (copied) scratch.set_read_aside();
    else storage.set_read_aside(true);
  }
  auto *destination = static_cast<uint8_t *>(command.destination);
  for (uint64_t at = 0; at < total; at += StagingRing::kSlice) {
    const uint64_t bytes = std::min<uint64_t>(StagingRing::kSlice, total - at);
    void *piece = out_.take(bytes);
    wm_event *event = nullptr;
    try {
      const auto *from = static_cast<const uint8_t *>(view.data) + at;
      queue_->device().check(queue_->table().copy_out(stream, piece, from, bytes), "a copy to the host");
      event = queue_->record(stream);
    } catch (const Error &) {
      completions_.push(nullptr, [this](const Failure *) { out_.give_back(); });
      throw;
    }
    completions_.push(event, [this, piece, bytes, to = destination + at](const Failure *failure) {
      if (failure != nullptr) read_failure_ = std::make_shared<Failure>(*failure);
      else std::memcpy(to, piece, bytes);
      out_.give_back();
    });
  }
}

void DeviceExecutor::complete(Completion done, std::shared_ptr<const Failure> failure) {
  wm_event *event = nullptr;
  if (!failure) {
    try {
      event = queue_->record(queue_->compute());
    } catch (const Error &error) {
      failure = std::make_shared<Failure>(Failure{error.status(), error.what()});
      note(*failure);
    }
  }
  const uint64_t mark = event != nullptr ? verdicts_.last() : 0;
  if (mark > 0) settling_ = mark;
  completions_.push(event, [this, mark, done = std::move(done), failure = std::move(failure), doubts = std::move(reading_)](const Failure *late) {
    const std::shared_ptr<Failure> read = std::move(read_failure_);
    read_failure_ = nullptr;
    verdicts_.settle(mark);
    const std::shared_ptr<const Failure> refused = doubts ? doubts->failure() : nullptr;
    done(failure ? failure.get() : read ? read.get() : late != nullptr ? late : refused.get());
  });
  reading_ = nullptr;
}

}  // namespace wm
