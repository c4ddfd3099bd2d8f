// Makes reads of a mapped file survive the file: where it became shorter (or the disk fails), touching its pages raises SIGBUS.
// While guarded mappings exist, a handler puts a page of zeros in the place of the lost one, marks the mapping as damaged and
// lets the reader go on; whoever read asks afterwards (the habit of systemd's sigbus.c). A SIGBUS anywhere else goes to whoever
// handled it before, or ends the process as ever.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace wm {

class MappingGuard {
 public:
  // Throws Status::io when too many files are mapped already.
  MappingGuard(const void *data, size_t bytes);
  ~MappingGuard();
  MappingGuard(const MappingGuard &) = delete;
  MappingGuard &operator=(const MappingGuard &) = delete;

  // Whether a page was lost. Holds for what this thread, and those that it waited for, have read.
  bool damaged() const;

  // A guarded range as the signal handler sees it; free while `end` is 0.
  struct Slot {
    std::atomic<uintptr_t> begin{0}, end{0};
    std::atomic<bool> damaged{false};
  };

 private:
  Slot *slot_;
};

}  // namespace wm
