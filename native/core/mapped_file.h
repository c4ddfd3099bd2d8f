// A file mapped read-only. Pages come in on first use and belong to the page cache.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "native/core/mapping_guard.h"

namespace wm {

class MappedFile {
 public:
  // Throws Status::io with the path and the system's reason.
  static std::shared_ptr<MappedFile> open(const std::string &path);
  ~MappedFile();
  MappedFile(const MappedFile &) = delete;
  MappedFile &operator=(const MappedFile &) = delete;

  const uint8_t *data() const { return data_; }
  uint64_t size() const { return size_; }
  // Throws Status::io where bytes that were read turned out to be gone: the file became shorter, or its disk failed.
  void check_intact() const;
  // Tells the system that these bytes will not be read again soon.
  void forget(uint64_t offset, uint64_t bytes) const;

 private:
  MappedFile(std::string path, uint8_t *data, uint64_t size);
  std::string path_;
  uint8_t *data_;
  uint64_t size_;
  std::unique_ptr<MappingGuard> guard_;
};

}  // namespace wm
