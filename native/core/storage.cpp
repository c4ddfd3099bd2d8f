#include "native/core/storage.h"

#include "native/core/arena.h"

namespace wm {

Storage::Storage(std::shared_ptr<MappedFile> file, uint64_t offset, size_t bytes)
    : bytes_(bytes), kind_(Kind::mapped), file_(std::move(file)), file_offset_(offset) {
  if (offset > file_->size() || bytes > file_->size() - offset) {
    fail(Status::usage, "bytes %llu..%llu lie outside a file of %llu bytes", static_cast<unsigned long long>(offset),
         static_cast<unsigned long long>(offset + bytes), static_cast<unsigned long long>(file_->size()));
  }
  // The mapping is read-only; ops never write to a storage that is not writable().
  data_ = const_cast<uint8_t *>(file_->data() + offset);
}

Storage::~Storage() {
  switch (kind_) {
    case Kind::arena:
      if (!source_) Arena::instance().release(data_, bytes_);
      else if (data_ != nullptr) source_->release(data_, read_aside_);
      break;
    case Kind::external:
      if (released_) released_();
      break;
    case Kind::mapped: file_->forget(file_offset_, bytes_); break;
  }
}

void Storage::allocate() {
  if (data_ == nullptr) data_ = source_ ? source_->allocate(bytes_) : Arena::instance().allocate(bytes_);
}

}  // namespace wm
