// Reference-counted bytes of a tensor, on the host or on a device. A storage made for an op's output has no memory until
// the executor runs the op; a failed op leaves its failure here, and whoever reads it carries the failure on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "native/core/mapped_file.h"
#include "native/core/status.h"

namespace wm {

struct Failure {
  Status status;
  std::string text;
};

class Doubts;  // native/core/verdicts.h

// Where a device's storages get their memory.
class MemorySource {
 public:
  virtual ~MemorySource() = default;
  // Throws Status::memory.
  virtual void *allocate(size_t bytes) = 0;
  // `read_aside`: a copy to the host that the compute stream does not know of may still be reading.
  virtual void release(void *data, bool read_aside) noexcept = 0;
};

class Storage {
 public:
  // Memory follows at allocate(): of the source, of the host's arena without one.
  explicit Storage(size_t bytes, std::shared_ptr<MemorySource> source = nullptr)
      : bytes_(bytes), source_(std::move(source)) {}
  // Borrowed memory, of the host or of a source's device; `released` runs when the last reference is gone.
  Storage(void *data, size_t bytes, std::function<void()> released, std::shared_ptr<MemorySource> source = nullptr)
      : data_(data), bytes_(bytes), kind_(Kind::external), source_(std::move(source)), released_(std::move(released)) {}
  // Part of a mapped file, read-only.
  Storage(std::shared_ptr<MappedFile> file, uint64_t offset, size_t bytes);
  ~Storage();
  Storage(const Storage &) = delete;
  Storage &operator=(const Storage &) = delete;

  // Takes memory if there is none yet. Throws Status::memory.
  void allocate();
  // Takes over memory of the source, for a storage that has none.
  void adopt(void *data) { data_ = data; }
  void *data() const { return data_; }
  size_t bytes() const { return bytes_; }
  // Throws Status::io where bytes of a mapped file that were read are gone.
  void check_intact() const {
    if (file_) file_->check_intact();
  }
  bool writable() const { return kind_ == Kind::arena; }
  // Null for the host.
  const MemorySource *source() const { return source_.get(); }

  // Written and read on the executor thread alone.
  const std::shared_ptr<const Failure> &failure() const { return failure_; }
  void set_failure(std::shared_ptr<const Failure> failure) { failure_ = std::move(failure); }
  // Ops behind the values whose device has not said yet whether it refuses what it was given; null: none.
  const std::shared_ptr<const Doubts> &doubts() const { return doubts_; }
  void set_doubts(std::shared_ptr<const Doubts> doubts) { doubts_ = std::move(doubts); }
  bool read_aside() const { return read_aside_; }
  void set_read_aside(bool value) { read_aside_ = value; }

 private:
  enum class Kind { arena, external, mapped };
  void *data_ = nullptr;
  size_t bytes_ = 0;
  Kind kind_ = Kind::arena;
  bool read_aside_ = false;
  std::shared_ptr<MemorySource> source_;
  std::function<void()> released_;
  std::shared_ptr<MappedFile> file_;
  uint64_t file_offset_ = 0;
  std::shared_ptr<const Failure> failure_;
  std::shared_ptr<const Doubts> doubts_;
};

}  // namespace wm
