#include "native/core/mapping_guard.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <mutex>

#include "native/core/status.h"

namespace wm {

namespace {

// A shard of a model each. The handler must not wait, so the table has a fixed size and no lock for readers.
constexpr size_t kSlots = 4096;
MappingGuard::Slot slots[kSlots];

std::mutex mutex;  // of writers
size_t guarded = 0;
uintptr_t page_bytes = 0;
struct sigaction previous;

MappingGuard::Slot *find(uintptr_t address) {
  for (MappingGuard::Slot &slot : slots) {
    const uintptr_t end = slot.end.load(std::memory_order_acquire);
    if (address < end && address >= slot.begin.load(std::memory_order_relaxed)) return &slot;
  }
  return nullptr;
}

bool replace_page(uintptr_t address) {
  void *page = reinterpret_cast<void *>(address / page_bytes * page_bytes);
  return mmap(page, page_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page;
}

void forward(int number, siginfo_t *info, void *context) {
  if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != nullptr) {
    previous.sa_sigaction(number, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(number);
  } else {
    // The access is repeated on return and then ends the process.
    signal(SIGBUS, SIG_DFL);
  }
}

// Uses nothing but atomics and system calls.
void on_bus_error(int number, siginfo_t *info, void *context) {
  const int error = errno;
  const uintptr_t address = reinterpret_cast<uintptr_t>(info->si_addr);
  MappingGuard::Slot *slot = find(address);
  if (slot != nullptr && replace_page(address)) {
    slot->damaged.store(true, std::memory_order_release);
  } else {
    forward(number, info, context);
  }
  errno = error;
}

void install() {
  page_bytes = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  struct sigaction action = {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  if (sigaction(SIGBUS, &action, &previous) != 0) fail(Status::io, "cannot watch mapped files: sigaction failed");
}

bool installed() {
  struct sigaction current = {};
  return sigaction(SIGBUS, nullptr, &current) == 0 && (current.sa_flags & SA_SIGINFO) != 0 &&
         current.sa_sigaction == on_bus_error;
}

// Left in place where somebody has put a handler of theirs before it, which may call this one.
void uninstall() {
  if (installed()) sigaction(SIGBUS, &previous, nullptr);
}

}  // namespace

MappingGuard::MappingGuard(const void *data, size_t bytes) : slot_(nullptr) {
  const std::lock_guard<std::mutex> lock(mutex);
  if (guarded == 0 && !installed()) install();
  for (Slot &slot : slots) {
    if (slot.end.load(std::memory_order_relaxed) != 0) continue;
    slot_ = &slot;
    break;
  }
  if (slot_ == nullptr) fail(Status::io, "more than %zu files are mapped at once", kSlots);
  ++guarded;
  slot_->damaged.store(false, std::memory_order_relaxed);
  slot_->begin.store(reinterpret_cast<uintptr_t>(data), std::memory_order_relaxed);
  slot_->end.store(reinterpret_cast<uintptr_t>(data) + bytes, std::memory_order_release);
}

MappingGuard::~MappingGuard() {
  const std::lock_guard<std::mutex> lock(mutex);
  slot_->end.store(0, std::memory_order_release);
  if (--guarded == 0) uninstall();
}

bool MappingGuard::damaged() const { return slot_->damaged.load(std::memory_order_acquire); }

}  // namespace wm
