#include "test/simt/fiber.h"

#include <new>

#include <sys/mman.h>

#if defined(WM_FIBER_TSAN)
#include <sanitizer/tsan_interface.h>
#elif defined(WM_FIBER_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace wm::simt {

namespace {

#if defined(WM_FIBER_ASAN)
// Who was left by the last switch: the entered side learns its stack from the sanitizer.
Fiber *left = nullptr;
#endif

#if defined(WM_FIBER_TSAN)
// The switch itself orders nothing: only the kernel's own barriers do.
constexpr unsigned kNoOrder = __tsan_switch_to_fiber_no_sync;
#endif

}  // namespace

Fiber::~Fiber() {
#if defined(WM_FIBER_TSAN)
  if (stack_ != nullptr && sanitizer_ != nullptr) __tsan_destroy_fiber(sanitizer_);
#endif
  if (stack_ != nullptr) munmap(stack_, kStackBytes);
}

void Fiber::prepare(void (*entry)()) {
  if (stack_ == nullptr) {
    stack_ = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack_ == MAP_FAILED) {
      stack_ = nullptr;
      throw std::bad_alloc();
    }
    bottom_ = stack_;
    size_ = kStackBytes;
  }
#if defined(WM_FIBER_TSAN)
  // A new one now and then: what a fiber leaves in its record of calls would fill it up in the end.
  if (uses_++ % kUsesOfRecord == 0) {
    if (sanitizer_ != nullptr) __tsan_destroy_fiber(sanitizer_);
    sanitizer_ = __tsan_create_fiber(0);
  }
#endif
#if defined(WM_FIBER_ASAN)
  __asan_unpoison_memory_region(stack_, kStackBytes);
  sanitizer_ = nullptr;
#endif
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_;
  context_.uc_stack.ss_size = kStackBytes;
  context_.uc_link = nullptr;
  makecontext(&context_, entry, 0);
  fresh_ = true;
}

void Fiber::entered() {
#if defined(WM_FIBER_ASAN)
  __sanitizer_finish_switch_fiber(sanitizer_, &left->bottom_, &left->size_);
#endif
}

void Fiber::enter_from(Fiber &from) {
#if defined(WM_FIBER_TSAN)
  if (from.sanitizer_ == nullptr) from.sanitizer_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(sanitizer_, kNoOrder);
  swapcontext(&from.context_, &context_);
#elif defined(WM_FIBER_ASAN)
  left = &from;
  __sanitizer_start_switch_fiber(&from.sanitizer_, bottom_, size_);
  swapcontext(&from.context_, &context_);
  __sanitizer_finish_switch_fiber(from.sanitizer_, &left->bottom_, &left->size_);
#else
  if (_setjmp(from.place_) != 0) return;
  if (fresh_) {
    fresh_ = false;
    setcontext(&context_);
  }
  _longjmp(place_, 1);
#endif
}

}  // namespace wm::simt
