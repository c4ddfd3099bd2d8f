// The streams of one executor on a device and the memory in their order. Kernels run on `compute`; copies to the device and
// to the host have a stream each, so that they overlap with kernels, and are tied in by events. Lives as long as a storage of it.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "native/core/device_context.h"
#include "native/core/storage.h"

namespace wm {

class DeviceQueue final : public MemorySource {
 public:
  explicit DeviceQueue(DeviceContext &device);
  ~DeviceQueue() override;
  DeviceQueue(const DeviceQueue &) = delete;
  DeviceQueue &operator=(const DeviceQueue &) = delete;

  DeviceContext &device() const { return device_; }
  const wm_backend &table() const { return device_.table(); }
  wm_stream *compute() const { return compute_; }
  wm_stream *copy_in() const { return copy_in_; }
  wm_stream *copy_out() const { return copy_out_; }
  // For launches that are captured, made when first asked for: on a stream of its own, since what other threads queue on
  // `compute` meanwhile (releases) is no part of it. The executor's thread alone.
  wm_stream *capture();

  // On the compute stream.
  void *allocate(size_t bytes) override { return allocate_on(compute_, bytes); }
  void release(void *data, bool read_aside) noexcept override;
  // Where memory is short, everything queued is waited for, cached blocks go back to the device, and it is tried once more.
  void *allocate_on(wm_stream *stream, size_t bytes);
  // Waits for everything queued and gives cached blocks back.
  void trim();

  // What is queued on `later` from now on starts after what `earlier` holds now.
  void order(wm_stream *later, wm_stream *earlier);
  // An event recorded now on the stream. Any thread.
  wm_event *record(wm_stream *stream);
  void give_event(wm_event *event);

 private:
  wm_event *take_event();

  DeviceContext &device_;
  wm_stream *compute_ = nullptr, *copy_in_ = nullptr, *copy_out_ = nullptr, *capture_ = nullptr;
  std::mutex mutex_;
  std::vector<wm_event *> events_;  // unused
};

}  // namespace wm
