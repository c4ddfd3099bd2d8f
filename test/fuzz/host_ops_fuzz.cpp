// Fuzz target over the host algorithms whose bytes come from files: PNG rows and COCO run lengths. An input is read as
//   byte: algorithm | byte: 1 = cut the first array to the size the attributes ask for | 4 bytes an attribute |
//   two bytes (size) for every array but the last | the arrays
// Refusing with a wm::Error is fine. A crash, a sanitizer report, any other exception and a broken round trip are not.
//
// clang: libFuzzer drives it (host_ops_fuzz -max_total_time=60 corpus). Other compilers: replay_main.cpp does.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "native/core/host_op.h"

namespace {

using Attrs = std::vector<double>;
using Bytes = std::vector<uint8_t>;

struct Target {
  const char *name;
  size_t attrs, arrays;
  // Bytes of the first array that fit the attributes, or null.
  double (*fitting)(const Attrs &);
};

constexpr Target kTargets[] = {
    {"png_unfilter", 3, 1, [](const Attrs &a) { return (a[0] + 1) * a[1]; }},
    {"png_filter", 4, 1, [](const Attrs &a) { return a[0] * a[1]; }},
    {"png_unpack", 4, 1, [](const Attrs &a) { return std::floor((a[0] * a[3] * a[2] + 7) / 8) * a[1]; }},
    {"png_pack", 4, 1, [](const Attrs &a) { return a[0] * a[1] * a[3] * (a[2] == 16 ? 2 : 1); }},
    {"rle_from_string", 0, 1, nullptr},
    {"rle_to_string", 0, 1, nullptr},
    {"rle_decode", 3, 1, nullptr},
    {"rle_encode", 3, 2, [](const Attrs &a) { return a[0] * a[1] * a[2]; }},
    {"rle_merge", 1, 3, nullptr},
    {"rle_area_bbox", 1, 2, nullptr},
    {"rle_iou", 0, 5, nullptr},
    {"confusion", 4, 2, nullptr},
    {"mask_deflate", 3, 1, nullptr},
};
constexpr size_t kTargetCount = sizeof kTargets / sizeof kTargets[0];
// Largest array the harness makes to fit attributes.
constexpr double kMostBytes = 1 << 20;

class Reader {
 public:
  Reader(const uint8_t *data, size_t size) : data_(data), size_(size) {}
  uint8_t byte() {
    if (at_ == size_) return 0;
    return data_[at_++];
  }
  // Small numbers mostly, for those are sizes and depths; now and then an absurd one.
  double attribute(bool first) {
    const uint8_t low = byte(), high = byte(), fraction = byte();
    const double value = first ? low | high << 8 : low;
    switch (byte()) {
      case 0xff: return value * 1e15;
      case 0xfe: return -value;
      case 0xfd: return value + fraction / 256.0;
      case 0xfc: return std::nan("");
      case 0xfb: return value * 65536;
      default: return value;
    }
  }
  Bytes take(size_t size) {
    if (size > size_ - at_) size = size_ - at_;
    at_ += size;
    return Bytes(data_ + at_ - size, data_ + at_);
  }
  size_t left() const { return size_ - at_; }

 private:
  const uint8_t *data_;
  size_t size_, at_ = 0;
};

// Looked up once: the fuzzer traces comparisons of text and would take names for part of the input.
std::map<std::string, const wm::HostEntry *> &entries() {
  static std::map<std::string, const wm::HostEntry *> found;
  return found;
}

// Calls the algorithm on arrays of exactly their size, so that a byte read too far is seen. False: refused.
bool call(const std::string &name, const std::vector<Bytes> &arrays, const Attrs &attrs, std::vector<Bytes> &outputs) {
  wm::HostCall host;
  std::vector<std::unique_ptr<uint8_t[]>> exact;
  for (const Bytes &array : arrays) {
    exact.emplace_back(new uint8_t[array.size()]);
    if (!array.empty()) std::memcpy(exact.back().get(), array.data(), array.size());
    host.inputs.push_back({exact.back().get(), array.size()});
  }
  host.attrs = attrs;
  try {
    entries().at(name)->function(host);
  } catch (const wm::Error &) {
    return false;
  }
  outputs = std::move(host.outputs);
  return true;
}

void demand(bool ok, const char *what) {
  if (ok) return;
  std::fprintf(stderr, "broken round trip: %s\n", what);
  std::abort();
}

// What comes out must lead back to what went in.
void check_round_trip(const std::string &name, const std::vector<Bytes> &arrays, const Attrs &attrs, const std::vector<Bytes> &outputs) {
  std::vector<Bytes> there, back;
  if (name == "png_filter") {
    demand(call("png_unfilter", {outputs[0]}, {attrs[0], attrs[1], attrs[2]}, back) && back[0] == arrays[0], "PNG filters");
  } else if (name == "rle_from_string") {
    demand(call("rle_to_string", {outputs[0]}, {}, there) && call("rle_from_string", {there[0]}, {}, back) && back[0] == outputs[0],
           "run-length text");
  } else if (name == "rle_decode" && attrs[2] > 0) {
    demand(call("rle_encode", {outputs[0]}, {attrs[0], attrs[1], 1}, there) && call("rle_decode", {there[0]}, attrs, back) &&
               back[0] == outputs[0],
           "run lengths");
  }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int *argc, char ***argv);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

extern "C" int LLVMFuzzerInitialize(int *, char ***) {
  for (const Target &target : kTargets) {
    const wm::HostEntry *entry = wm::find_host_op(target.name);
    if (entry == nullptr) {
      std::fprintf(stderr, "no host algorithm named %s: the fuzz target is out of date\n", target.name);
      std::exit(1);
    }
    entries()[target.name] = entry;
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Reader reader(data, size);
  const Target &target = kTargets[reader.byte() % kTargetCount];
  const bool fit = reader.byte() == 1;
  Attrs attrs;
  for (size_t i = 0; i < target.attrs; ++i) attrs.push_back(reader.attribute(i == 0));
  std::vector<size_t> sizes;
  for (size_t i = 0; i + 1 < target.arrays; ++i) sizes.push_back(static_cast<size_t>(reader.byte() | reader.byte() << 8));
  std::vector<Bytes> arrays;
  for (size_t array_size : sizes) arrays.push_back(reader.take(array_size));
  arrays.push_back(reader.take(reader.left()));
  if (fit && target.fitting != nullptr) {
    const double wanted = target.fitting(attrs);
    if (wanted >= 0 && wanted <= kMostBytes) arrays[0].resize(static_cast<size_t>(wanted));
  }
  std::vector<Bytes> outputs;
  if (call(target.name, arrays, attrs, outputs)) check_round_trip(target.name, arrays, attrs, outputs);
  return 0;
}
