#include "native/core/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "native/core/status.h"

namespace wm {

std::shared_ptr<MappedFile> MappedFile::open(const std::string &path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(Status::io, "cannot open %s: %s", path.c_str(), std::strerror(errno));
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    fail(Status::io, "%s is not a regular file", path.c_str());
  }
  const uint64_t size = static_cast<uint64_t>(info.st_size);
  uint8_t *data = nullptr;
  if (size > 0) {
    void *mapped = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (mapped == MAP_FAILED) {
      const int reason = errno;
      ::close(fd);
      fail(Status::io, "cannot map %s: %s", path.c_str(), std::strerror(reason));
    }
    data = static_cast<uint8_t *>(mapped);
  }
  ::close(fd);
  return std::shared_ptr<MappedFile>(new MappedFile(path, data, size));
}

MappedFile::MappedFile(std::string path, uint8_t *data, uint64_t size) : path_(std::move(path)), data_(data), size_(size) {
  if (data_ == nullptr) return;
  try {
    guard_ = std::make_unique<MappingGuard>(data_, size_);
  } catch (...) {
    munmap(data_, size_);
    throw;
  }
}

MappedFile::~MappedFile() {
  guard_.reset();
  if (data_ != nullptr) munmap(data_, size_);
}

void MappedFile::check_intact() const {
  if (guard_ == nullptr || !guard_->damaged()) return;
  fail(Status::io, "%s became shorter than the %llu bytes it had, or unreadable, while it was in use: open it again once it is whole",
       path_.c_str(), static_cast<unsigned long long>(size_));
}

void MappedFile::forget(uint64_t offset, uint64_t bytes) const {
  constexpr uint64_t kPage = 4096;
  const uint64_t begin = (offset + kPage - 1) / kPage * kPage;
  const uint64_t end = (offset + bytes) / kPage * kPage;
  if (data_ != nullptr && end > begin) madvise(data_ + begin, end - begin, MADV_DONTNEED);
}

}  // namespace wm
