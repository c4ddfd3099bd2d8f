#include "cuda/core/kept.h"

#include "cuda/core/context.h"

namespace wm::cuda {

KeptBlock::~KeptBlock() { memory_release(stream_, data_); }

std::shared_ptr<KeptBlock> KeptBlocks::find(const wm_stream *stream, const KeptKey &key) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->block->stream() != stream || entry->key != key) continue;
    entries_.splice(entries_.begin(), entries_, entry);
    return entry->block;
  }
  return nullptr;
}

void KeptBlocks::add(const KeptKey &key, std::shared_ptr<KeptBlock> block) {
  const std::lock_guard<std::mutex> lock(mutex_);
  entries_.push_front({key, std::move(block)});
  uint64_t bytes = 0;
  size_t count = 0;
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    bytes += entry->block->bytes();
    entry = bytes > kMostBytes || ++count > kMostBlocks ? entries_.erase(entry) : std::next(entry);
  }
}

void KeptBlocks::drop(const wm_stream *stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  entries_.remove_if([stream](const Entry &entry) { return stream == nullptr || entry.block->stream() == stream; });
}

uint64_t KeptBlocks::bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  uint64_t sum = 0;
  for (const Entry &entry : entries_) sum += entry.block->bytes();
  return sum;
}

}  // namespace wm::cuda
