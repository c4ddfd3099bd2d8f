#include "native/core/device_queue.h"

namespace wm {

DeviceQueue::DeviceQueue(DeviceContext &device) : device_(device) {
  for (wm_stream **stream : {&compute_, &copy_in_, &copy_out_}) {
    const wm_status status = table().stream_create(device_.context(), stream);
    if (status == WM_OK) continue;
    for (wm_stream *made : {compute_, copy_in_}) {
      if (made != nullptr) table().stream_free(made);
    }
    device_.check(status, "a stream");
  }
}

DeviceQueue::~DeviceQueue() {
  for (wm_event *event : events_) table().event_free(event);
  if (capture_ != nullptr) table().stream_free(capture_);
  for (wm_stream *stream : {copy_out_, copy_in_, compute_}) table().stream_free(stream);
}

wm_stream *DeviceQueue::capture() {
  if (capture_ == nullptr) device_.check(table().stream_create(device_.context(), &capture_), "a stream");
  return capture_;
}

void *DeviceQueue::allocate_on(wm_stream *stream, size_t bytes) {
  void *data = nullptr;
  wm_status status = table().memory_alloc(stream, bytes, &data);
  if (status == WM_ERR_MEMORY) {
    trim();
    status = table().memory_alloc(stream, bytes, &data);
  }
  if (status != WM_OK) device_.check(status, ("out of memory: " + std::to_string(bytes) + " bytes asked for").c_str());
  return data;
}

void DeviceQueue::trim() {
  for (wm_stream *stream : {compute_, copy_in_, copy_out_}) {
    device_.check(table().stream_synchronise(stream), "waiting for memory");
  }
  device_.check(table().memory_trim(device_.context()), "cached memory");
}

void DeviceQueue::release(void *data, bool read_aside) noexcept {
  try {
    // The copy may still run while the compute stream is done with the memory: the last of both gives it back.
    if (read_aside) order(copy_out_, compute_);
  } catch (const Error &) {
    // A lost device: nothing runs any more.
  }
  table().memory_release(read_aside ? copy_out_ : compute_, data);
}

wm_event *DeviceQueue::take_event() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!events_.empty()) {
      wm_event *event = events_.back();
      events_.pop_back();
      return event;
    }
  }
  wm_event *event = nullptr;
  device_.check(table().event_create(device_.context(), &event), "an event");
  return event;
}

void DeviceQueue::give_event(wm_event *event) {
  std::lock_guard<std::mutex> lock(mutex_);
  events_.push_back(event);
}

wm_event *DeviceQueue::record(wm_stream *stream) {
  wm_event *event = take_event();
  const wm_status status = table().event_record(event, stream);
  if (status != WM_OK) {
    give_event(event);
    device_.check(status, "an event");
  }
  return event;
}

void DeviceQueue::order(wm_stream *later, wm_stream *earlier) {
  wm_event *event = record(earlier);
  const wm_status status = table().stream_wait(later, event);
  // The wait is for the record above, whatever the event is used for next.
  give_event(event);
  device_.check(status, "an event");
}

}  // namespace wm
