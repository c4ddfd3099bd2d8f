// rle_encode, rle_decode: COCO run lengths, u32 counts of zeros and ones in turn down the columns, zeros
// first.
#include <algorithm>
#include <unordered_map>

#include "native/host/host_args.h"

namespace wm {

namespace {

// Columns handled together: a strip is read row by row and walked column by column, both inside the cache.
constexpr int64_t kStrip = 64;

// Run-length builder of one mask, fed with its runs of ones in column order.
struct Runs {
  std::vector<uint32_t> counts;
  int64_t end = 0;  // position behind the last one

  void add(int64_t begin, int64_t length) {
    if (!counts.empty() && begin == end) {
      counts.back() += static_cast<uint32_t>(length);
    } else {
      counts.push_back(static_cast<uint32_t>(begin - end));
      counts.push_back(static_cast<uint32_t>(length));
    }
    end = begin + length;
  }
  void finish(int64_t pixels) {
    if (end < pixels || counts.empty()) counts.push_back(static_cast<uint32_t>(pixels - end));
  }
};

// Which mask a sample belongs to, -1 for none.
class Selection {
 public:
  Selection(const int32_t *ids, int64_t count, bool nonzero) : nonzero_(nonzero) {
    constexpr int32_t kDense = 1 << 16;
    for (int64_t i = 0; i < count; ++i) {
      if (ids[i] >= 0 && ids[i] < kDense) {
        if (dense_.empty()) dense_.assign(kDense, -1);
        dense_[ids[i]] = i;
      } else {
        sparse_[static_cast<uint32_t>(ids[i])] = i;
      }
    }
  }
  int64_t operator()(uint32_t sample) const {
    if (nonzero_) return sample != 0 ? 0 : -1;
    if (sample < dense_.size()) return dense_[sample];
    const auto found = sparse_.find(sample);
    return found == sparse_.end() ? -1 : found->second;
  }

 private:
  bool nonzero_;
  std::vector<int64_t> dense_;
  std::unordered_map<uint32_t, int64_t> sparse_;
};

template <class T>
void encode(const HostCall &call, const T *map, MapSize size, const Selection &selection,
            std::vector<Runs> &masks) {
  std::vector<T> strip(static_cast<size_t>(std::min(kStrip, size.width) * size.height));
  T value{};
  int64_t start = 0;
  const auto flush = [&](int64_t end) {
    const int64_t mask = end > start ? selection(value) : -1;
    if (mask >= 0) masks[mask].add(start, end - start);
    start = end;
  };
  for (int64_t x0 = 0; x0 < size.width; x0 += kStrip) {
    const int64_t columns = std::min(kStrip, size.width - x0);
    for (int64_t y = 0; y < size.height; ++y) {
      for (int64_t x = 0; x < columns; ++x) strip[x * size.height + y] = map[y * size.width + x0 + x];
    }
    const int64_t base = x0 * size.height;
    for (int64_t i = 0; i < columns * size.height; ++i) {
      if (strip[i] == value) continue;
      flush(base + i);
      value = strip[i];
    }
    host_check_cancelled(call);
  }
  flush(size.pixels());
}

// map of 1, 2 or 4-byte samples, ids i32 [n] (optional); attrs: height, width, bytes -> n arrays of u32
// counts, one for each id, or one for all samples but 0. Ids must differ.
void rle_encode(HostCall &call) {
  const MapSize size = host_size(call, 0);
  const int64_t bytes = host_int(call, 2, "bytes", 1, 4);
  const bool nonzero = call.inputs.size() < 2;
  const auto *ids = nonzero ? nullptr : host_array<int32_t>(call, 1, "ids", -1);
  const int64_t count = nonzero ? 1 : static_cast<int64_t>(call.inputs[1].count<int32_t>());
  const Selection selection(ids, nonzero ? 0 : count, nonzero);
  std::vector<Runs> masks(static_cast<size_t>(count));
  with_samples(call, 0, "map", bytes, size.pixels(),
               [&](auto *map) { encode(call, map, size, selection, masks); });
  for (Runs &mask : masks) {
    mask.finish(size.pixels());
    host_output(call, mask.counts);
  }
}

// counts u32; attrs: height, width, value -> u8 [H, W] with `value` where the mask is set
void rle_decode(HostCall &call) {
  const MapSize size = host_size(call, 0);
  const auto value = static_cast<uint8_t>(host_int(call, 2, "value", 0, 255));
  const auto *counts = host_array<uint32_t>(call, 0, "counts", -1);
  const size_t n = call.inputs[0].count<uint32_t>();
  uint64_t total = 0;
  for (size_t i = 0; i < n; ++i) total += counts[i];
  if (total != static_cast<uint64_t>(size.pixels())) {
    fail(Status::usage, "run lengths cover %llu pixels, the mask has %lld x %lld",
         static_cast<unsigned long long>(total), static_cast<long long>(size.height),
         static_cast<long long>(size.width));
  }
  auto *out = host_output<uint8_t>(call, size.pixels());
  std::vector<uint8_t> strip(static_cast<size_t>(std::min(kStrip, size.width) * size.height));
  size_t run = 0;
  uint64_t left = n > 0 ? counts[0] : 0;  // of the current run
  for (int64_t x0 = 0; x0 < size.width; x0 += kStrip) {
    const int64_t columns = std::min(kStrip, size.width - x0);
    uint64_t at = 0;
    const auto pixels = static_cast<uint64_t>(columns * size.height);
    while (at < pixels) {
      while (left == 0) left = counts[++run];
      const uint64_t step = std::min(left, pixels - at);
      std::memset(strip.data() + at, (run & 1) != 0 ? value : 0, step);
      at += step;
      left -= step;
    }
    for (int64_t y = 0; y < size.height; ++y) {
      for (int64_t x = 0; x < columns; ++x) out[y * size.width + x0 + x] = strip[x * size.height + y];
    }
    host_check_cancelled(call);
  }
}

}  // namespace

WM_REGISTER_HOST_OP(rle_encode, rle_encode)
WM_REGISTER_HOST_OP(rle_decode, rle_decode)

}  // namespace wm
