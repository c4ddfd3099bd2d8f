// A device module whose streams are threads that run behind: what is queued happens some time later, and memory holds
// rubbish before its allocation and after its release have been reached. An executor that leaves out a wait, reuses staging
// memory too early or frees what is still read shows wrong values here, as it would on a GPU.
//   WM_LATE_MEMORY=BYTES  what may be live at once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "native/core/backend.h"

struct wm_context {
  int device;
};

struct wm_verdict;

// One thread a stream; tasks run in order, each after a moment.
struct wm_stream {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> tasks;
  bool busy = false, stopping = false;
  std::thread thread;
  wm_verdict *verdict = nullptr;
  std::unique_ptr<std::vector<std::function<void()>>> captured;  // while it captures
};
struct wm_graph {
  std::vector<std::function<void()>> work;
};

// The state of its last record; a wait holds on to the record that it saw.
struct Mark {
  std::mutex mutex;
  std::condition_variable changed;
  bool reached = false;
};
struct wm_event {
  std::shared_ptr<Mark> mark;
};
// What a kernel found: written when it runs, asked for and freed by the host.
struct wm_verdict {
  std::atomic<bool> reached{false};
  std::atomic<float> value{0};
};

namespace {

thread_local std::string error_text;
std::atomic<bool> lost{false};
std::atomic<uint64_t> live{0}, peak{0}, trims{0};
std::mutex blocks_mutex;
std::map<void *, uint64_t> blocks;
// The memory of a lost device goes with the process.
struct LastRelease {
  ~LastRelease() {
    for (const auto &block : blocks) std::free(block.first);
  }
} last_release;

wm_status refuse(wm_status status, const char *text) {
  error_text = text;
  return status;
}

#define WM_ALIVE() \
  if (lost) return refuse(WM_ERR_DEVICE_LOST, "the late device is lost")

void push(wm_stream *stream, std::function<void()> task) {
  {
    std::lock_guard<std::mutex> lock(stream->mutex);
    stream->tasks.push_back(std::move(task));
  }
  stream->changed.notify_all();
}

void stream_main(wm_stream *stream) {
  for (;;) {
    std::function<void()> task;
    {
      std::unique_lock<std::mutex> lock(stream->mutex);
      stream->busy = false;
      stream->changed.notify_all();
      stream->changed.wait(lock, [&] { return stream->stopping || !stream->tasks.empty(); });
      if (stream->tasks.empty()) return;
      task = std::move(stream->tasks.front());
      stream->tasks.pop_front();
      stream->busy = true;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(150));
    task();
  }
}

wm_status device_count(int32_t *count) {
  *count = 1;
  return WM_OK;
}
wm_status device_info(int32_t, wm_device_info *info) {
  const uint32_t size = info->size;
  *info = {};
  info->size = size;
  info->usable = 1;
  std::strcpy(info->name, "late device");
  info->total_bytes = uint64_t{1} << 30;
  return WM_OK;
}
const char *last_error() { return error_text.c_str(); }

wm_status context_create(int32_t device, wm_context **out) {
  *out = new wm_context{device};
  return WM_OK;
}
void context_free(wm_context *context) { delete context; }
wm_status self_test(wm_context *) { return WM_OK; }

wm_status stream_create(wm_context *, wm_stream **out) {
  auto *stream = new wm_stream;
  stream->thread = std::thread(stream_main, stream);
  *out = stream;
  return WM_OK;
}
wm_status stream_synchronise(wm_stream *stream) {
  WM_ALIVE();
  std::unique_lock<std::mutex> lock(stream->mutex);
  stream->changed.wait(lock, [&] { return stream->tasks.empty() && !stream->busy; });
  return WM_OK;
}
void stream_free(wm_stream *stream) {
  {
    std::lock_guard<std::mutex> lock(stream->mutex);
    stream->stopping = true;
  }
  stream->changed.notify_all();
  stream->thread.join();
  delete stream;
}

void wait_for(const std::shared_ptr<Mark> &mark) {
  std::unique_lock<std::mutex> lock(mark->mutex);
  mark->changed.wait(lock, [&] { return mark->reached; });
}
wm_status event_create(wm_context *, wm_event **out) {
  *out = new wm_event;
  return WM_OK;
}
void event_free(wm_event *event) { delete event; }
wm_status event_record(wm_event *event, wm_stream *stream) {
  WM_ALIVE();
  auto mark = std::make_shared<Mark>();
  event->mark = mark;
  push(stream, [mark] {
    {
      std::lock_guard<std::mutex> lock(mark->mutex);
      mark->reached = true;
    }
    mark->changed.notify_all();
  });
  return WM_OK;
}
wm_status stream_wait(wm_stream *stream, wm_event *event) {
  WM_ALIVE();
  push(stream, [mark = event->mark] { wait_for(mark); });
  return WM_OK;
}
wm_status event_synchronise(wm_event *event) {
  wait_for(event->mark);
  WM_ALIVE();
  return WM_OK;
}

wm_status memory_alloc(wm_stream *stream, uint64_t bytes, void **out) {
  WM_ALIVE();
  *out = nullptr;
  if (bytes == 0) return WM_OK;
  const char *limit = std::getenv("WM_LATE_MEMORY");
  if (limit != nullptr && live + bytes > std::strtoull(limit, nullptr, 10)) return refuse(WM_ERR_MEMORY, "the late device is full");
  live += bytes;
  if (live > peak) peak = live.load();
  void *data = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(data, 0xab, bytes);
  {
    std::lock_guard<std::mutex> lock(blocks_mutex);
    blocks[data] = bytes;
  }
  push(stream, [data, bytes] { std::memset(data, 0xcd, bytes); });
  *out = data;
  return WM_OK;
}
wm_status memory_release(wm_stream *stream, void *data) {
  WM_ALIVE();
  if (data == nullptr) return WM_OK;
  push(stream, [data] {
    std::lock_guard<std::mutex> lock(blocks_mutex);
    const uint64_t bytes = blocks[data];
    std::memset(data, 0xef, bytes);
    blocks.erase(data);
    std::free(data);
    live -= bytes;
  });
  return WM_OK;
}
wm_status memory_borrow(wm_stream *stream, const void *, uint64_t bytes, void *lender) {
  WM_ALIVE();
  if (bytes > uint64_t{1} << 30) return refuse(WM_ERR_DEVICE, "more than the late device has");
  if (lender == nullptr) return WM_OK;
  wm_event event;
  const wm_status status = event_record(&event, static_cast<wm_stream *>(lender));
  return status == WM_OK ? stream_wait(stream, &event) : status;
}
wm_status memory_trim(wm_context *) {
  WM_ALIVE();
  ++trims;
  return WM_OK;
}
wm_status memory_stats(wm_context *, wm_memory *stats) {
  *stats = {live, trims, peak};  // cached: how often it was trimmed, for the test
  return WM_OK;
}
wm_status host_alloc(wm_context *, uint64_t bytes, void **out) {
  *out = std::malloc(bytes);
  return WM_OK;
}
void host_free(wm_context *, void *data) { std::free(data); }

wm_status copy(wm_stream *stream, void *to, const void *from, uint64_t bytes) {
  WM_ALIVE();
  push(stream, [=] {
    // Long enough for other streams to overtake.
    if (bytes > 65536) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::memcpy(to, from, bytes);
  });
  return WM_OK;
}

// --- Ops ---------------------------------------------------------------------------------------------------------

enum class Op : intptr_t { twice = 1, increment, gather, slow, lose, refuse };

const wm_backend_op *op_find(const char *name, uint32_t *flags) {
  constexpr uint32_t kStrided = 1, kInPlace = 2;
  const std::map<std::string, std::pair<Op, uint32_t>> ops = {{"test_double", {Op::twice, 0}},
                                                              {"test_increment", {Op::increment, kInPlace}},
                                                              {"copy", {Op::gather, kStrided}},
                                                              {"test_slow", {Op::slow, 0}},
                                                              {"test_lose", {Op::lose, 0}},
                                                              {"test_refuse", {Op::refuse, 0}}};
  const auto found = ops.find(name);
  if (found == ops.end()) return nullptr;
  *flags = found->second.second;
  return reinterpret_cast<const wm_backend_op *>(found->second.first);
}

int64_t count(const wm_tensor_view &view) {
  int64_t n = 1;
  for (int i = 0; i < view.ndim; ++i) n *= view.shape[i];
  return n;
}

void run(Op op, const wm_tensor_view &x, const wm_tensor_view &y) {
  const float *from = static_cast<const float *>(x.data);
  float *to = static_cast<float *>(y.data);
  if (op == Op::slow) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  for (int64_t i = 0, n = count(y); i < n; ++i) {
    if (op == Op::increment) to[i] += 1;
    else if (op == Op::gather) to[i] = x.ndim == 2 ? from[i / x.shape[1] * x.stride[0] + i % x.shape[1] * x.stride[1]] : from[i * x.stride[0]];
    else to[i] = 2 * from[i];
  }
}

wm_status op_launch(wm_context *, const wm_backend_op *handle, wm_stream *stream, const wm_tensor_view *inputs, int32_t,
                    const wm_tensor_view *outputs, int32_t, const double *, int32_t) {
  WM_ALIVE();
  const auto op = static_cast<Op>(reinterpret_cast<intptr_t>(handle));
  const wm_tensor_view x = inputs[0], y = outputs[0];
  const bool vectors = op != Op::gather && op != Op::increment;
  if (vectors && reinterpret_cast<uintptr_t>(x.data) % 16 != 0) return refuse(WM_ERR_OPTION, "test_double: misaligned input");
  if (vectors && x.stride[x.ndim - 1] != 1) return refuse(WM_ERR_OPTION, "test_double: strided input");
  wm_verdict *verdict = nullptr;
  if (op == Op::refuse) verdict = stream->verdict = new wm_verdict;
  const auto work = [=] {
    run(op, x, y);
    if (verdict != nullptr) {
      verdict->value = static_cast<const float *>(x.data)[0];
      verdict->reached = true;
    }
    if (op == Op::lose) lost = true;
  };
  if (stream->captured) stream->captured->push_back(work);
  else push(stream, work);
  return WM_OK;
}

wm_verdict *verdict_take(wm_stream *stream) {
  wm_verdict *verdict = stream->verdict;
  stream->verdict = nullptr;
  return verdict;
}
wm_status verdict_read(wm_verdict *verdict) {
  if (!verdict->reached) return refuse(WM_ERR_INTERNAL, "a verdict was asked for before its kernel ran");
  if (verdict->value >= 0) return WM_OK;
  return refuse(WM_ERR_OPTION, ("test_refuse: value " + std::to_string(verdict->value)).c_str());
}
void verdict_free(wm_verdict *verdict) {
  // A kernel that runs later would write to it.
  if (!verdict->reached && !lost) std::abort();
  delete verdict;
}

wm_status workspace_peak(wm_stream *, uint64_t *bytes) {
  *bytes = 0;
  return WM_OK;
}
wm_status capture_begin(wm_stream *stream, void *, uint64_t) {
  stream->captured = std::make_unique<std::vector<std::function<void()>>>();
  return WM_OK;
}
wm_status capture_end(wm_stream *stream, wm_graph **out) {
  const auto work = std::move(stream->captured);
  if (std::getenv("WM_LATE_CAPTURE") != nullptr) return refuse(WM_ERR_DEVICE, "the late device captures nothing");
  if (out != nullptr) *out = new wm_graph{std::move(*work)};
  return WM_OK;
}
wm_status graph_launch(wm_graph *graph, wm_stream *stream) {
  WM_ALIVE();
  for (const auto &work : graph->work) push(stream, work);
  return WM_OK;
}
void graph_free(wm_graph *graph) { delete graph; }

}  // namespace

extern "C" __attribute__((visibility("default"))) const wm_backend *wm_backend_entry(uint32_t abi);
const wm_backend *wm_backend_entry(uint32_t) {
  static wm_backend table{};
  table.abi = WM_BACKEND_ABI;
  table.size = sizeof table;
  table.name = "late";
  table.last_error = last_error;
  table.device_count = device_count;
  table.device_info = device_info;
  table.context_create = context_create;
  table.context_free = context_free;
  table.self_test = self_test;
  table.stream_create = stream_create;
  table.stream_free = stream_free;
  table.stream_synchronise = stream_synchronise;
  table.event_create = event_create;
  table.event_free = event_free;
  table.event_record = event_record;
  table.stream_wait = stream_wait;
  table.event_synchronise = event_synchronise;
  table.memory_alloc = memory_alloc;
  table.memory_release = memory_release;
  table.memory_trim = memory_trim;
  table.memory_stats = memory_stats;
  table.host_alloc = host_alloc;
  table.host_free = host_free;
  table.copy_in = copy;
  table.copy_out = copy;
  table.op_find = op_find;
  table.op_launch = op_launch;
  table.memory_borrow = memory_borrow;
  table.verdict_take = verdict_take;
  table.verdict_read = verdict_read;
  table.verdict_free = verdict_free;
  table.copy_within = copy;
  table.workspace_peak = workspace_peak;
  table.capture_begin = capture_begin;
  table.capture_end = capture_end;
  table.graph_launch = graph_launch;
  table.graph_free = graph_free;
  return &table;
}
