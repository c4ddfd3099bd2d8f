// Runs the blocks of a launch one after another, the threads of a block as fibers (cuda/core/simt.h). A fiber runs until
// it waits; the scheduler goes round those that may go on. When none may and some still wait, the kernel would hang on a
// device or do something undefined: the launch fails with what each of them waits for.
#include "cuda/core/simt.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "test/simt/faults.h"
#include "test/simt/fiber.h"
#include "test/simt/hopper.h"

#if defined(WM_FIBER_TSAN)
#include <sanitizer/tsan_interface.h>
#define WM_RELEASE(x) __tsan_release(x)
#define WM_ACQUIRE(x) __tsan_acquire(x)
#else
#define WM_RELEASE(x) static_cast<void>(x)
#define WM_ACQUIRE(x) static_cast<void>(x)
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace wm::simt {

namespace {

constexpr int kLanes = 32;
// A lane reads a snapshot before its next collective; lanes of other masks may take this many in between.
constexpr int kSnapshots = 128;
constexpr int kMaxThreads = 1024;

enum class State { ready, block_wait, warp_wait, condition_wait, done };

struct Copy {
  void *to;
  const void *from;
  int bytes;
  bool valid;
};

struct Thread {
  Fiber fiber;
  uint3 index;
  State state = State::done;
  const char *place = "";  // of a block barrier, or the kind of a collective
  unsigned mask = 0;
  const Snapshot *snapshot = nullptr;
  std::vector<std::vector<Copy>> copies;  // groups; the last one is open
};

struct Warp {
  Snapshot given;  // what each waiting lane hands over
  Snapshot done[kSnapshots];
  int next = 0;
  char order[2];  // addresses that the sanitizer's happens-before hangs on, one a parity
  int generation = 0;
};

struct Machine {
  std::vector<std::unique_ptr<Thread>> threads;
  std::vector<std::unique_ptr<Warp>> warps;
  std::vector<unsigned char> shared;
  Fiber scheduler;
  const std::function<void()> *body = nullptr;
  int count = 0, current = 0, live = 0, arrived = 0;
  int predicates[2] = {0, 0};
  int generation = 0;
  int64_t met = 0;  // conditions that threads waited for and found
  char block_order[2];
  char start, end;  // order the scheduler with all threads of a block, and no thread with another
};

Machine &machine() {
  static Machine instance;
  return instance;
}

Thread &self() { return *machine().threads[static_cast<size_t>(machine().current)]; }

void yield() { machine().scheduler.enter_from(self().fiber); }

void finish_thread() {
  self().state = State::done;
  --machine().live;
}

void thread_main() {
  self().fiber.entered();
  WM_ACQUIRE(&machine().start);
  (*machine().body)();
  WM_RELEASE(&machine().end);
  finish_thread();
  for (;;) yield();
}

void select_thread(Machine &m, int i) {
  m.current = i;
  threadIdx = m.threads[static_cast<size_t>(i)]->index;
}

void wake_block(Machine &m) {
  for (int i = 0; i < m.count; ++i) {
    Thread &thread = *m.threads[static_cast<size_t>(i)];
    if (thread.state == State::block_wait) thread.state = State::ready;
  }
  m.arrived = 0;
  ++m.generation;
  m.predicates[m.generation & 1] = 0;
}

// The lanes of `mask` wait for the same collective: hand all of them one snapshot.
bool complete_warp(Machine &m, int warp_index, unsigned mask, const char *kind) {
  const int first = warp_index * kLanes;
  for (int lane = 0; lane < kLanes; ++lane) {
    if ((mask >> lane & 1u) == 0) continue;
    if (first + lane >= m.count) return false;
    const Thread &thread = *m.threads[static_cast<size_t>(first + lane)];
    if (thread.state != State::warp_wait || thread.mask != mask || std::strcmp(thread.place, kind) != 0) return false;
  }
  Warp &warp = *m.warps[static_cast<size_t>(warp_index)];
  Snapshot &snapshot = warp.done[warp.next];
  warp.next = (warp.next + 1) % kSnapshots;
  ++warp.generation;
  for (int lane = 0; lane < kLanes; ++lane) {
    if ((mask >> lane & 1u) == 0) continue;
    for (int i = 0; i < kPayload; ++i) snapshot.lane[lane][i] = warp.given.lane[lane][i];
    Thread &thread = *m.threads[static_cast<size_t>(first + lane)];
    thread.snapshot = &snapshot;
    thread.state = State::ready;
  }
  return true;
}

std::string describe(const Machine &m, const char *name) {
  std::string text = std::string(name) + ": block (" + std::to_string(blockIdx.x) + ", " + std::to_string(blockIdx.y) + ", " +
                     std::to_string(blockIdx.z) + ") cannot go on: ";
  int shown = 0;
  for (int i = 0; i < m.count; ++i) {
    const Thread &thread = *m.threads[static_cast<size_t>(i)];
    const bool repeats = i > 0 && m.threads[static_cast<size_t>(i - 1)]->state == thread.state &&
                         std::strcmp(m.threads[static_cast<size_t>(i - 1)]->place, thread.place) == 0;
    if (repeats || shown == 8) continue;
    ++shown;
    text += "thread " + std::to_string(i) + " ";
    if (thread.state == State::done) text += "has returned; ";
    else if (thread.state == State::block_wait) text += std::string("waits at ") + thread.place + "; ";
    else if (thread.state == State::condition_wait) text += std::string("waits for ") + thread.place + "; ";
    else text += std::string("waits in ") + thread.place + " of lanes " + std::to_string(thread.mask) + "; ";
  }
  return text + "all threads of a block must reach one barrier, all lanes of a mask one collective";
}

// A barrier is met when every thread of the block stands at one line; returned threads break it.
void settle_block(Machine &m, const char *name) {
  if (m.arrived < m.count) throw Error(Status::internal, describe(m, name));
  for (int i = 1; i < m.count; ++i) {
    if (std::strcmp(m.threads[static_cast<size_t>(i)]->place, m.threads[0]->place) != 0) {
      throw Error(Status::internal, describe(m, name));
    }
  }
  wake_block(m);
}

void run_block(Machine &m, const char *name) {
  m.live = m.count;
  m.arrived = 0;
  for (int i = 0; i < m.count; ++i) {
    Thread &thread = *m.threads[static_cast<size_t>(i)];
    thread.state = State::ready;
    thread.place = "";
    thread.copies.assign(1, {});
    thread.fiber.prepare(thread_main);
  }
  begin_hopper_block();
  WM_RELEASE(&m.start);
  while (m.live > 0) {
    bool moved = false, waits = false;
    for (int i = 0; i < m.count; ++i) {
      Thread &thread = *m.threads[static_cast<size_t>(i)];
      if (thread.state != State::ready && thread.state != State::condition_wait) continue;
      const int64_t met = m.met;
      const bool ready = thread.state == State::ready;
      select_thread(m, i);
      thread.fiber.enter_from(m.scheduler);
      moved = moved || ready || m.met != met;
      waits = waits || thread.state == State::condition_wait;
    }
    if (!moved && waits) throw Error(Status::internal, describe(m, name));
    if (!moved) settle_block(m, name);
  }
  end_hopper_block(name);
  WM_ACQUIRE(&m.end);
}

void make_threads(Machine &m, dim3 block) {
  m.count = static_cast<int>(block.x * block.y * block.z);
  while (m.threads.size() < static_cast<size_t>(m.count)) m.threads.push_back(std::make_unique<Thread>());
  while (m.warps.size() * kLanes < static_cast<size_t>(m.count)) m.warps.push_back(std::make_unique<Warp>());
  for (int i = 0; i < m.count; ++i) {
    const unsigned n = static_cast<unsigned>(i);
    m.threads[static_cast<size_t>(i)]->index = {n % block.x, n / block.x % block.y, n / (block.x * block.y)};
  }
}

}  // namespace

void run(const char *name, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &thread) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  // The limits of compute capability 9.0.
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > kMaxThreads || block.z > 64) {
    fail(Status::device, "%s: a block of %u x %u x %u threads", name, block.x, block.y, block.z);
  }
  if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) {
    fail(Status::device, "%s: a grid of %u x %u x %u blocks", name, grid.x, grid.y, grid.z);
  }
  if (shared_bytes > 227 * 1024) fail(Status::device, "%s: %zu bytes of shared memory", name, shared_bytes);
  const cudaError_t fault = injected_fault("launch");
  if (fault != cudaSuccess) wm::cuda::throw_error(fault, name);
  Machine &m = machine();
  make_threads(m, block);
  m.body = &thread;
  m.shared.resize(shared_bytes + 2048);
  blockDim = block;
  gridDim = grid;
  for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z) {
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y) {
      for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) {
        std::fill(m.shared.begin(), m.shared.end(), static_cast<unsigned char>(0xff));  // NaN: a read of nothing shows
        run_block(m, name);
      }
    }
  }
}

void wait_until(const char *place, const std::function<bool()> &ready) {
  Machine &m = machine();
  if (ready()) return;
  Thread &thread = self();
  thread.place = place;
  do {
    thread.state = State::condition_wait;
    yield();
  } while (!ready());
  thread.state = State::ready;
  ++m.met;
}

int current_thread() { return machine().current; }

void *dynamic_shared() {
  const uintptr_t start = reinterpret_cast<uintptr_t>(machine().shared.data());
  return reinterpret_cast<void *>((start + 1023) & ~uintptr_t{1023});
}

int lane_id() { return machine().current % kLanes; }

// Counts arrivals; the scheduler settles the barrier once no thread can go on, and checks that all stand at one line.
int block_count(bool predicate, const char *place) {
  Machine &m = machine();
  Thread &thread = self();
  const int parity = m.generation & 1;
  if (predicate) ++m.predicates[parity];
  ++m.arrived;
  thread.place = place;
  thread.state = State::block_wait;
  WM_RELEASE(&m.block_order[parity]);
  yield();
  WM_ACQUIRE(&m.block_order[parity]);
  return m.predicates[parity];
}

void block_barrier(const char *place) { block_count(false, place); }

const Snapshot &warp_exchange(unsigned mask, const void *payload, int bytes, const char *kind) {
  Machine &m = machine();
  Thread &thread = self();
  const int lane = lane_id(), warp_index = m.current / kLanes;
  if ((mask >> lane & 1u) == 0) mask = 0;  // never completes: the scheduler reports the lane that is not in its own mask
  Warp &warp = *m.warps[static_cast<size_t>(warp_index)];
  const unsigned char *from = static_cast<const unsigned char *>(payload);
  for (int i = 0; i < bytes; ++i) warp.given.lane[lane][i] = from[i];
  thread.mask = mask;
  thread.place = kind;
  thread.state = State::warp_wait;
  if (mask == 0 || !complete_warp(m, warp_index, mask, kind)) yield();
  return *thread.snapshot;
}

void warp_barrier(unsigned mask) {
  Warp &warp = *machine().warps[static_cast<size_t>(machine().current / kLanes)];
  char *order = &warp.order[warp.generation & 1];
  WM_RELEASE(order);
  warp_exchange(mask, nullptr, 0, "syncwarp");
  WM_ACQUIRE(order);
}

unsigned ballot(unsigned mask, bool predicate) {
  const unsigned char bit = predicate ? 1 : 0;
  const Snapshot &all = warp_exchange(mask, &bit, 1, "vote");
  unsigned result = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    if ((mask >> lane & 1u) != 0 && all.lane[lane][0] != 0) result |= 1u << lane;
  }
  return result;
}

void copy_later(void *shared, const void *global, int bytes, bool valid) {
  self().copies.back().push_back({shared, global, bytes, valid});
}

void commit_copies() { self().copies.emplace_back(); }

void wait_copies(int groups_left) {
  auto &groups = self().copies;
  // The open group is not covered by a wait on committed ones.
  while (static_cast<int>(groups.size()) - 1 > groups_left) {
    for (const Copy &copy : groups.front()) {
      if (copy.valid) std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.bytes));
      else std::memset(copy.to, 0, static_cast<size_t>(copy.bytes));
    }
    groups.erase(groups.begin());
  }
}

}  // namespace wm::simt
