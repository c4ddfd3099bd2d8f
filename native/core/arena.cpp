#include "native/core/arena.h"

#include <sys/mman.h>

#include <cstdlib>

#include "native/core/status.h"

// Under AddressSanitizer the rounding of a block and blocks kept for reuse are out of bounds, so that a kernel that
// leaves its scratch memory is seen.
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(data, bytes) ((void)(data), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(data, bytes) ((void)(data), (void)(bytes))
#endif

namespace wm {

namespace {

constexpr size_t kMapThreshold = size_t{1} << 16;
// Cached blocks beyond this are unmapped at release: enough for the activations of a window group.
constexpr uint64_t kCacheCap = uint64_t{512} << 20;

void *system_allocate(size_t bytes) {
  if (bytes < kMapThreshold) return std::aligned_alloc(64, bytes);
  void *data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return nullptr;
  if (bytes >= (size_t{2} << 20)) madvise(data, bytes, MADV_HUGEPAGE);
  return data;
}

void system_release(void *data, size_t bytes) {
  ASAN_UNPOISON_MEMORY_REGION(data, bytes);
  if (bytes < kMapThreshold) std::free(data);
  else munmap(data, bytes);
}

}  // namespace

Arena &Arena::instance() {
  // Never destroyed: storages of other environments may outlive static destruction.
  static Arena *arena = new Arena();
  return *arena;
}

Arena::Arena() : limit_(UINT64_MAX) {
  const char *text = std::getenv("WORDMASK_MEMORY_LIMIT");
  if (text == nullptr) return;
  char *end = nullptr;
  const unsigned long long bytes = std::strtoull(text, &end, 10);
  if (end != text && *end == '\0' && bytes > 0) limit_ = bytes;
}

size_t Arena::size_class(size_t bytes) {
  if (bytes <= 64) return 64;
  size_t octave = 64;
  while (octave * 2 <= bytes) octave *= 2;
  const size_t step = octave / 4 < 64 ? 64 : octave / 4;
  size_t rounded = (bytes + step - 1) / step * step;
  if (rounded >= kMapThreshold) rounded = (rounded + 4095) / 4096 * 4096;
  return rounded;
}

void *Arena::allocate(size_t bytes) {
  if (bytes > (size_t{1} << 46)) fail(Status::memory, "allocation of %zu bytes is beyond any machine", bytes);
  const size_t rounded = size_class(bytes);
  std::lock_guard<std::mutex> lock(mutex_);
  void *data = nullptr;
  auto found = free_.find(rounded);
  if (live_ + rounded > limit_) {
    fail(Status::memory, "out of memory: %zu bytes asked for, %llu bytes live, WORDMASK_MEMORY_LIMIT is %llu", bytes,
         static_cast<unsigned long long>(live_), static_cast<unsigned long long>(limit_));
  }
  if (found != free_.end() && !found->second.empty()) {
    data = found->second.back();
    found->second.pop_back();
    cached_ -= rounded;
  } else {
    data = system_allocate(rounded);
    if (data == nullptr) {
      trim_locked();
      data = system_allocate(rounded);
    }
    if (data == nullptr) fail(Status::memory, "out of memory: %zu bytes asked for, %llu bytes live", bytes,
                              static_cast<unsigned long long>(live_));
  }
  live_ += rounded;
  if (live_ > peak_) peak_ = live_;
  ASAN_UNPOISON_MEMORY_REGION(data, rounded);
  ASAN_POISON_MEMORY_REGION(static_cast<char *>(data) + bytes, rounded - bytes);
  return data;
}

void Arena::release(void *data, size_t bytes) {
  if (data == nullptr) return;
  const size_t rounded = size_class(bytes);
  std::lock_guard<std::mutex> lock(mutex_);
  live_ -= rounded;
  if (cached_ + rounded > kCacheCap) {
    system_release(data, rounded);
    return;
  }
  ASAN_POISON_MEMORY_REGION(data, rounded);
  free_[rounded].push_back(data);
  cached_ += rounded;
}

void Arena::trim_locked() {
  for (auto &entry : free_) {
    for (void *data : entry.second) system_release(data, entry.first);
    entry.second.clear();
  }
  cached_ = 0;
}

void Arena::trim() {
  std::lock_guard<std::mutex> lock(mutex_);
  trim_locked();
}

MemoryStats Arena::stats() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return {live_, cached_, peak_};
}

void Arena::reset_peak() {
  std::lock_guard<std::mutex> lock(mutex_);
  peak_ = live_;
}

}  // namespace wm
