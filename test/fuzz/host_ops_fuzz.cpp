// Fuzz target over the host algorithms that read bytes from files. An input is: one byte that picks the algorithm, one
// that counts attributes, four bytes for each of them, and the data. Every outcome is fine but a crash, a sanitizer
// report, an exception that is no wm::Error, or a result larger than the limit that the callers set.
//
// clang: libFuzzer drives it (host_ops_fuzz -max_total_time=60 corpus). Other compilers: replay_main.cpp does.
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "native/core/host_op.h"

namespace {

constexpr const char *kParsers[] = {"png_unfilter", "rle_from_string"};
constexpr size_t kParserCount = sizeof kParsers / sizeof kParsers[0];

// An attribute: small integers mostly, for those are sizes and depths; now and then an absurd one.
double attribute(const uint8_t *bytes) {
  const int value = bytes[0] | bytes[1] << 8;
  switch (bytes[3]) {
    case 0xff: return static_cast<double>(value) * 1e15;
    case 0xfe: return -static_cast<double>(value);
    case 0xfd: return static_cast<double>(value) + bytes[2] / 256.0;
    case 0xfc: return __builtin_nan("");
    default: return bytes[3] & 1 ? bytes[0] : value;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  const wm::HostEntry *entry = wm::find_host_op(kParsers[data[0] % kParserCount]);
  const size_t attr_count = data[1] % 8;
  data += 2;
  size -= 2;
  if (entry == nullptr || size < attr_count * 4) return 0;
  wm::HostCall call;
  for (size_t i = 0; i < attr_count; ++i) call.attrs.push_back(attribute(data + 4 * i));
  data += attr_count * 4;
  size -= attr_count * 4;
  // Of exactly this size, so that a byte read too far is seen.
  const std::unique_ptr<uint8_t[]> bytes(new uint8_t[size]);
  if (size > 0) std::memcpy(bytes.get(), data, size);
  call.inputs.push_back({bytes.get(), size});
  try {
    entry->function(call);
  } catch (const wm::Error &) {
    // Refused with a text: what malformed input shall lead to.
  }
  return 0;
}
