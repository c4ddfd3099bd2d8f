// mask_deflate: the image data of an 8-bit grey PNG that is `value` inside a mask and 0 outside, straight from the mask's runs
// (RFC 1950 and 1951). Bytes are never laid out: a run is its first byte and copies of the byte before, at most 258 a symbol,
// in one block whose codes fit how often each symbol occurs. Time and memory grow with the outline, and with the pixels by a 258th.
#include <algorithm>
#include <array>

#include "native/host/host_args.h"

namespace wm {

namespace {

constexpr int kEnd = 256, kFirstLength = 257, kSymbols = 286, kLongest = 285;
constexpr int64_t kMostCopies = 258;
constexpr int kMaxBits = 15;

// Symbol of a copy of 3..258 bytes, and the extra bits behind it (RFC 1951 section 3.2.5).
struct LengthCode {
  int symbol, extra_bits;
  uint32_t extra;
};

LengthCode length_code(int64_t length) {
  if (length == kMostCopies) return {kLongest, 0, 0};
  if (length < 11) return {kFirstLength + static_cast<int>(length) - 3, 0, 0};
  // Four symbols for each doubling.
  const int64_t offset = length - 3;
  int bits = 1;
  while (offset >= (int64_t{8} << bits)) ++bits;
  const int64_t step = offset >> bits;  // 4..7
  return {kFirstLength + 4 * bits + static_cast<int>(step), bits, static_cast<uint32_t>(offset & ((1 << bits) - 1))};
}

// The runs of equal bytes of all rows, each row with its filter byte 0 in front: body(byte, length), adjacent ones joined.
template <class F>
void for_each_run(const uint32_t *toggles, int64_t count, const MapSize &size, uint8_t value, F &&body) {
  const int64_t line = size.width + 1;
  int64_t at = 0;  // in the stream
  const auto zeros_until = [&](int64_t end) {
    if (end > at) body(uint8_t{0}, end - at);
    at = end;
  };
  for (int64_t i = 0; i < count; i += 2) {
    for (int64_t begin = toggles[i], end = toggles[i + 1]; begin < end;) {
      const int64_t row = begin / size.width;
      const int64_t stop = std::min(end, (row + 1) * size.width);
      const int64_t first = row * line + 1 + begin % size.width;
      zeros_until(first);
      // Toggles that touch would give two runs in a row, which is only longer, not wrong.
      body(value, stop - begin);
      at = first + (stop - begin);
      begin = stop;
    }
  }
  zeros_until(size.height * line);
}

// The symbols of a run: body(symbol, copies of it, extra bits, extra).
template <class F>
void for_each_symbol(uint8_t byte, int64_t length, F &&body) {
  body(int{byte}, int64_t{1}, 0, 0u);
  const int64_t copies = length - 1, whole = copies / kMostCopies, rest = copies % kMostCopies;
  if (whole > 0) body(kLongest, whole, 0, 0u);
  if (rest >= 3) {
    const LengthCode code = length_code(rest);
    body(code.symbol, int64_t{1}, code.extra_bits, code.extra);
  } else if (rest > 0) {
    body(int{byte}, rest, 0, 0u);
  }
}

using Counts = std::array<int64_t, kSymbols>;
using Lengths = std::array<uint8_t, kSymbols>;

// Huffman code lengths; counts are flattened until none is longer than kMaxBits.
Lengths code_lengths(Counts counts) {
  for (;;) {
    struct Node {
      int64_t count;
      int left, right;  // -1: a symbol
    };
    std::vector<Node> nodes;
    std::vector<int> open, symbol_of;
    for (int s = 0; s < kSymbols; ++s) {
      if (counts[static_cast<size_t>(s)] == 0) continue;
      open.push_back(static_cast<int>(nodes.size()));
      nodes.push_back({counts[static_cast<size_t>(s)], -1, -1});
      symbol_of.push_back(s);
    }
    const auto rarer = [&](int a, int b) {
      return nodes[static_cast<size_t>(a)].count != nodes[static_cast<size_t>(b)].count
                 ? nodes[static_cast<size_t>(a)].count > nodes[static_cast<size_t>(b)].count
                 : a > b;
    };
    // About thirty symbols at most: sorting at each step costs nothing.
    while (open.size() > 1) {
      std::sort(open.begin(), open.end(), rarer);
      const int a = open.back();
      open.pop_back();
      const int b = open.back();
      open.back() = static_cast<int>(nodes.size());
      nodes.push_back({nodes[static_cast<size_t>(a)].count + nodes[static_cast<size_t>(b)].count, a, b});
    }
    std::vector<int> depth(nodes.size(), 0);
    Lengths lengths{};
    int deepest = 0;
    for (size_t i = nodes.size(); i-- > 0;) {
      if (nodes[i].left >= 0) {
        depth[static_cast<size_t>(nodes[i].left)] = depth[static_cast<size_t>(nodes[i].right)] = depth[i] + 1;
      } else {
        lengths[static_cast<size_t>(symbol_of[i])] = static_cast<uint8_t>(std::max(1, depth[i]));
        deepest = std::max(deepest, depth[i]);
      }
    }
    if (deepest <= kMaxBits) return lengths;
    for (int64_t &count : counts) count = (count + 1) / 2;
  }
}

class BitWriter {
 public:
  explicit BitWriter(std::vector<uint8_t> &out) : out_(out) {}
  // Low bits first, at most 32.
  void put(uint32_t bits, int count) {
    held_ |= static_cast<uint64_t>(bits) << filled_;
    for (filled_ += count; filled_ >= 8; filled_ -= 8, held_ >>= 8) out_.push_back(static_cast<uint8_t>(held_));
  }
  void finish() {
    if (filled_ > 0) out_.push_back(static_cast<uint8_t>(held_));
  }

 private:
  std::vector<uint8_t> &out_;
  uint64_t held_ = 0;
  int filled_ = 0;
};

uint32_t reversed(uint32_t code, int bits) {
  uint32_t out = 0;
  for (int i = 0; i < bits; ++i) out |= (code >> i & 1u) << (bits - 1 - i);
  return out;
}

// Canonical codes, ready to be written low bit first.
template <size_t N>
std::array<uint32_t, N> canonical_codes(const std::array<uint8_t, N> &lengths) {
  std::array<uint32_t, N> codes{};
  uint32_t code = 0;
  for (int bits = 1; bits <= kMaxBits; ++bits, code <<= 1) {
    for (size_t s = 0; s < N; ++s) {
      if (lengths[s] == bits) codes[s] = reversed(code++, bits);
    }
  }
  return codes;
}

// The header of a block with codes of its own (RFC 1951 section 3.2.7): `lengths`, and one distance of one bit.
void write_codes(BitWriter &bits, const Lengths &lengths) {
  // Lengths 0..11 and the two runs of zeros take four bits, 12..15 five: complete, and no worse for so short a list.
  std::array<uint8_t, 19> own{};
  for (size_t s = 0; s < 12; ++s) own[s] = 4;
  for (size_t s = 12; s < 16; ++s) own[s] = 5;
  own[17] = own[18] = 4;
  const auto codes = canonical_codes(own);
  constexpr int kOrder[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
  bits.put(1, 1);  // the last block
  bits.put(2, 2);
  bits.put(kSymbols - 257, 5);
  bits.put(0, 5);
  bits.put(19 - 4, 4);
  for (const int s : kOrder) bits.put(own[static_cast<size_t>(s)], 3);
  const auto put = [&](size_t s) { bits.put(codes[s], own[s]); };
  for (size_t i = 0; i < kSymbols;) {
    size_t zeros = 0;
    while (i + zeros < kSymbols && lengths[i + zeros] == 0 && zeros < 138) ++zeros;
    if (zeros >= 11) {
      put(18);
      bits.put(static_cast<uint32_t>(zeros - 11), 7);
      i += zeros;
    } else {
      put(lengths[i++]);
    }
  }
  put(1);
}

// Sums of RFC 1950 over runs instead of bytes.
class Adler32 {
 public:
  void add(uint8_t byte, int64_t length) {
    for (; length > 0; length -= kPiece) {
      const uint64_t n = static_cast<uint64_t>(std::min(length, kPiece));
      b_ = (b_ + n * a_ + byte * (n * (n + 1) / 2 % kBase)) % kBase;
      a_ = (a_ + n * byte) % kBase;
    }
  }
  uint32_t value() const { return static_cast<uint32_t>(b_ << 16 | a_); }

 private:
  static constexpr uint64_t kBase = 65521;
  static constexpr int64_t kPiece = int64_t{1} << 30;  // its squares fit 64 bits
  uint64_t a_ = 1, b_ = 0;
};

// in: u32 toggles, begin and end in turn, rising, row-major. attrs: height, width, value. out: a zlib stream
void mask_deflate(HostCall &call) {
  const MapSize size = host_size(call, 0);
  const uint8_t value = static_cast<uint8_t>(host_int(call, 2, "value", 1, 255));
  const uint32_t *toggles = host_array<uint32_t>(call, 0, "toggles", -1);
  const int64_t count = static_cast<int64_t>(call.inputs[0].count<uint32_t>());
  if (size.pixels() == 0) fail(Status::option, "the mask has no pixels");
  if (count % 2 != 0) fail(Status::option, "toggles come in pairs, got %lld", static_cast<long long>(count));
  for (int64_t i = 0; i < count; ++i) {
    if (toggles[i] > size.pixels() || (i > 0 && toggles[i] < toggles[i - 1]))
      fail(Status::option, "toggle %lld is %u, out of order or beyond %lld pixels", static_cast<long long>(i), toggles[i],
           static_cast<long long>(size.pixels()));
  }
  Counts counts{};
  Adler32 sum;
  for_each_run(toggles, count, size, value, [&](uint8_t byte, int64_t length) {
    sum.add(byte, length);
    for_each_symbol(byte, length, [&](int symbol, int64_t times, int, uint32_t) { counts[static_cast<size_t>(symbol)] += times; });
  });
  host_check_cancelled(call);
  counts[kEnd] = 1;
  const Lengths lengths = code_lengths(counts);
  const auto codes = canonical_codes(lengths);
  std::vector<uint8_t> out = {0x78, 0x01};
  BitWriter bits(out);
  write_codes(bits, lengths);
  for_each_run(toggles, count, size, value, [&](uint8_t byte, int64_t length) {
    for_each_symbol(byte, length, [&](int symbol, int64_t times, int extra_bits, uint32_t extra) {
      const size_t s = static_cast<size_t>(symbol);
      // A copy is followed by its distance: the one of one bit.
      const int distance = symbol > kEnd ? 1 : 0;
      for (int64_t i = 0; i < times; ++i) {
        bits.put(codes[s], lengths[s]);
        if (extra_bits + distance > 0) bits.put(extra, extra_bits + distance);
      }
    });
  });
  bits.put(codes[kEnd], lengths[kEnd]);
  bits.finish();
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<uint8_t>(sum.value() >> shift));
  call.outputs.push_back(std::move(out));
}

}  // namespace

WM_REGISTER_HOST_OP(mask_deflate, mask_deflate)

}  // namespace wm
