// rle_to_string, rle_from_string: COCO's text form of run lengths. From the fourth count on the difference to
// the count two back is written; 5-bit groups, low first, 32 added where more follow, sign in bit 4 of the
// last group, plus 48.
#include "native/host/host_args.h"

namespace wm {

namespace {

constexpr int64_t kMaxCount = 0xffffffffll;

// counts u32 -> text bytes
void rle_to_string(HostCall &call) {
  const auto *counts = host_array<uint32_t>(call, 0, "counts", -1);
  const size_t n = call.inputs[0].count<uint32_t>();
  std::vector<uint8_t> text;
  text.reserve(n * 3);
  for (size_t i = 0; i < n; ++i) {
    int64_t x = counts[i];
    if (i > 2) x -= counts[i - 2];
    bool more = true;
    while (more) {
      int group = static_cast<int>(x & 31);
      x >>= 5;
      more = (group & 16) != 0 ? x != -1 : x != 0;
      if (more) group |= 32;
      text.push_back(static_cast<uint8_t>(group + 48));
    }
  }
  host_output(call, text);
}

// text bytes -> counts u32
void rle_from_string(HostCall &call) {
  const auto *text = host_array<uint8_t>(call, 0, "text", -1);
  const size_t size = call.inputs[0].size;
  std::vector<uint32_t> counts;
  for (size_t at = 0; at < size;) {
    uint64_t bits = 0;
    int groups = 0;
    bool more = true;
    while (more) {
      if (at >= size) fail(Status::usage, "the run-length text ends inside a count");
      const int group = text[at] - 48;
      if (group < 0 || group > 63)
        fail(Status::usage, "character %d at %zu is no run-length text", text[at], at);
      // Nine groups are 45 bits: more than any count or difference needs.
      if (groups == 9) fail(Status::usage, "a count at %zu of the run-length text is too long", at);
      bits |= static_cast<uint64_t>(group & 31) << (5 * groups);
      more = (group & 32) != 0;
      ++groups;
      ++at;
      if (!more && (group & 16) != 0) bits |= ~uint64_t{0} << (5 * groups);
    }
    auto x = static_cast<int64_t>(bits);
    if (counts.size() > 2) x += counts[counts.size() - 2];
    if (x < 0 || x > kMaxCount)
      fail(Status::usage, "count %zu of the run-length text is %lld", counts.size(),
           static_cast<long long>(x));
    counts.push_back(static_cast<uint32_t>(x));
  }
  host_output(call, counts);
}

}  // namespace

WM_REGISTER_HOST_OP(rle_to_string, rle_to_string)
WM_REGISTER_HOST_OP(rle_from_string, rle_from_string)

}  // namespace wm
