// What a device keeps with a Program: one block of memory and the graph of its launches. The addresses of a graph are fixed, so
// inputs are copied into the block before a replay and outputs out of it behind it.
#pragma once

#include <memory>
#include <vector>

#include "native/core/device_queue.h"
#include "native/core/program.h"

namespace wm {

class DeviceProgram final : public ProgramState {
 public:
  explicit DeviceProgram(std::shared_ptr<DeviceQueue> queue) : queue_(std::move(queue)) {}
  ~DeviceProgram() override { drop(); }
  DeviceProgram(const DeviceProgram &) = delete;
  DeviceProgram &operator=(const DeviceProgram &) = delete;

  // Whether the module captures at all.
  static bool offered(const wm_backend &table);

  // Null where nothing was captured: the ops are then queued one by one.
  wm_graph *graph() const { return graph_; }
  // Takes memory for all values that are no constants and `scratch` bytes behind them. Throws Status::memory.
  void allocate(const Program &program, size_t scratch);
  // Address of each value.
  const std::vector<uint8_t *> &places() const { return places_; }
  uint8_t *scratch() const { return scratch_; }
  void keep(wm_graph *graph) { graph_ = graph; }
  void drop();

 private:
  const std::shared_ptr<DeviceQueue> queue_;
  void *block_ = nullptr;
  uint8_t *scratch_ = nullptr;
  std::vector<uint8_t *> places_;
  wm_graph *graph_ = nullptr;
};

}  // namespace wm
