// A fiber: a stack and a place to go on from. Switching goes through ucontext, which sanitizers understand with the
// notes below; elsewhere through _setjmp and _longjmp after the first entry, which need no system call.
#pragma once

#include <cstddef>
#include <functional>

#include <csetjmp>
#include <ucontext.h>

// WM_FIBER_TSAN comes from the build: the scheduler itself is compiled without ThreadSanitizer, since what it reads and
// writes between fibers is no access of a kernel.
#if !defined(WM_FIBER_TSAN) && defined(__SANITIZE_ADDRESS__)
#define WM_FIBER_ASAN 1
#endif

namespace wm::simt {

// An execution that can be left and entered: the scheduler's own, or one with a stack.
class Fiber {
 public:
  Fiber() = default;
  ~Fiber();
  Fiber(const Fiber &) = delete;
  Fiber &operator=(const Fiber &) = delete;

  // Makes the fiber begin in `entry` at its next switch, whatever it was doing. `entry` must not return.
  void prepare(void (*entry)());
  // Leaves `from`, which runs, for this one; returns when something switches back to `from`.
  void enter_from(Fiber &from);
  // First call of an entry function: tells the sanitizer where it is.
  void entered();

 private:
  static constexpr size_t kStackBytes = 256 * 1024;
  static constexpr unsigned kUsesOfRecord = 32;
  void *stack_ = nullptr;
  unsigned uses_ = 0;
  ucontext_t context_;
  jmp_buf place_;
  bool fresh_ = false;
  void *sanitizer_ = nullptr;  // TSan's fiber, or ASan's fake stack
  const void *bottom_ = nullptr;
  size_t size_ = 0;
};

}  // namespace wm::simt
