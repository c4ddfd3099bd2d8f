// Device memory that outlives the call that filled it, for a later call that would fill it with the same bytes (the CRF's
// lattice of positions, say). Everything of a stream happens in its order, so what is kept belongs to one: it is read by later
// work of that stream alone and goes back in its order, whichever thread lets go of it.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>

struct wm_stream;

namespace wm::cuda {

// What the bytes follow from; the first number names the kind.
using KeptKey = std::array<int64_t, 8>;

class KeptBlock {
 public:
  KeptBlock(wm_stream *stream, void *data, uint64_t bytes) : stream_(stream), data_(data), bytes_(bytes) {}
  ~KeptBlock();
  KeptBlock(const KeptBlock &) = delete;
  KeptBlock &operator=(const KeptBlock &) = delete;
  wm_stream *stream() const { return stream_; }
  void *data() const { return data_; }
  uint64_t bytes() const { return bytes_; }

 private:
  wm_stream *stream_;
  void *data_;
  uint64_t bytes_;
};

// Those of all streams of a device, the latest first. A call holds on to the block it uses, so that it may be dropped here at
// any time.
class KeptBlocks {
 public:
  static constexpr size_t kMostBlocks = 8;
  static constexpr uint64_t kMostBytes = uint64_t{256} << 20;

  std::shared_ptr<KeptBlock> find(const wm_stream *stream, const KeptKey &key);
  // Drops the oldest beyond the limits.
  void add(const KeptKey &key, std::shared_ptr<KeptBlock> block);
  // Those of a stream; null: all.
  void drop(const wm_stream *stream);
  uint64_t bytes() const;

 private:
  struct Entry {
    KeptKey key;
    std::shared_ptr<KeptBlock> block;
  };
  mutable std::mutex mutex_;
  std::list<Entry> entries_;
};

}  // namespace wm::cuda
