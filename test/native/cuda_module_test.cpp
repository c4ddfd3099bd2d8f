// The CUDA module on a device: information, self-test, memory, copies, events. Exits with 77 (skipped) without one.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "native/core/backend_loader.h"
#include "test/native/check.h"

using namespace wm;

namespace {

const wm_backend *table() {
  static const BackendStatus status = load_backend("cuda", std::getenv("WM_TEST_MODULES"));
  if (status.table == nullptr) {
    std::printf("skipped: %s\n", status.reason.c_str());
    std::exit(77);
  }
  return status.table;
}

struct Device {
  wm_context *context = nullptr;
  wm_stream *stream = nullptr;
  Device() {
    WM_CHECK(table()->context_create(0, &context) == WM_OK);
    WM_CHECK(table()->stream_create(context, &stream) == WM_OK);
  }
  ~Device() {
    table()->stream_free(stream);
    table()->context_free(context);
  }
};

}  // namespace

WM_TEST(device_answers) {
  wm_device_info info{};
  info.size = sizeof info;
  WM_CHECK(table()->device_info(0, &info) == WM_OK);
  WM_CHECK(info.usable == 1 && info.capability_major >= 8 && info.total_bytes > 0);
  WM_CHECK(table()->device_info(9999, &info) == WM_ERR_DEVICE && std::strlen(table()->last_error()) > 0);
  Device device;
  WM_CHECK(table()->self_test(device.context) == WM_OK);
}

WM_TEST(bytes_travel) {
  Device device;
  std::vector<uint8_t> sent(100003), back(100003, 0);
  for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<uint8_t>(i * 7);
  void *first = nullptr, *second = nullptr;
  WM_CHECK(table()->memory_alloc(device.stream, sent.size(), &first) == WM_OK);
  WM_CHECK(table()->memory_alloc(device.stream, sent.size(), &second) == WM_OK);
  WM_CHECK(reinterpret_cast<uintptr_t>(first) % 256 == 0);
  wm_memory memory{};
  WM_CHECK(table()->memory_stats(device.context, &memory) == WM_OK && memory.live_bytes >= 2 * sent.size());
  WM_CHECK(table()->copy_in(device.stream, first, sent.data(), sent.size()) == WM_OK);
  WM_CHECK(table()->copy_within(device.stream, second, first, sent.size()) == WM_OK);
  WM_CHECK(table()->copy_out(device.stream, back.data(), second, sent.size()) == WM_OK);
  WM_CHECK(table()->stream_synchronise(device.stream) == WM_OK);
  WM_CHECK(sent == back);
  WM_CHECK(table()->memory_release(device.stream, first) == WM_OK);
  WM_CHECK(table()->memory_release(device.stream, second) == WM_OK);
  WM_CHECK(table()->stream_synchronise(device.stream) == WM_OK);
  WM_CHECK(table()->memory_trim(device.context) == WM_OK);
  WM_CHECK(table()->memory_stats(device.context, &memory) == WM_OK && memory.live_bytes == 0 && memory.cached_bytes == 0);
}

WM_TEST(events_and_limits) {
  Device device;
  wm_event *event = nullptr;
  int32_t done = 0;
  WM_CHECK(table()->event_create(device.context, &event) == WM_OK);
  WM_CHECK(table()->event_record(event, device.stream) == WM_OK);
  WM_CHECK(table()->event_synchronise(event) == WM_OK);
  WM_CHECK(table()->event_done(event, &done) == WM_OK && done == 1);
  table()->event_free(event);
  void *data = nullptr;
  WM_CHECK(table()->memory_alloc(device.stream, uint64_t{1} << 50, &data) == WM_ERR_MEMORY && data == nullptr);
  WM_CHECK(table()->memory_alloc(device.stream, 0, &data) == WM_OK && data == nullptr);
  WM_CHECK(table()->memory_alloc(device.stream, 64, &data) == WM_OK && data != nullptr);
  WM_CHECK(table()->memory_release(device.stream, data) == WM_OK);
}
