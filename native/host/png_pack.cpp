// png_unpack, png_pack: PNG rows (samples of 1, 2, 4, 8 or 16 bits, high bits first, rows padded to bytes,
// 16-bit samples big-endian) to and from one host integer a sample: u8 up to 8 bits, u16 for 16.
#include "native/host/host_args.h"

namespace wm {

namespace {

struct Layout {
  int64_t samples, height, depth, row_bytes;  // samples in a row
};

Layout layout_of(const HostCall &call) {
  const int64_t width = host_int(call, 0, "width", 1, int64_t{1} << 31);
  const int64_t height = host_int(call, 1, "height", 0, int64_t{1} << 31);
  const int64_t depth = host_int(call, 2, "bit depth", 1, 16);
  const int64_t channels = host_int(call, 3, "channels", 1, 4);
  if ((depth & (depth - 1)) != 0)
    fail(Status::option, "bit depth must be 1, 2, 4, 8 or 16, got %lld", static_cast<long long>(depth));
  if (height > kMaxHostPixels / width) fail(Status::option, "the image is over the size limit");
  return {width * channels, height, depth, (width * channels * depth + 7) / 8};
}

// rows; attrs: width, height, bit depth, channels -> width * height * channels samples
void png_unpack(HostCall &call) {
  const Layout l = layout_of(call);
  const uint8_t *from = host_array<uint8_t>(call, 0, "rows", l.row_bytes * l.height);
  if (l.depth == 16) {
    auto *to = host_output<uint16_t>(call, l.samples * l.height);
    for (int64_t i = 0; i < l.samples * l.height; ++i)
      to[i] = static_cast<uint16_t>(from[2 * i] << 8 | from[2 * i + 1]);
    return;
  }
  auto *to = host_output<uint8_t>(call, l.samples * l.height);
  if (l.depth == 8) {
    if (l.samples * l.height > 0) std::memcpy(to, from, static_cast<size_t>(l.samples * l.height));
    return;
  }
  const int64_t per_byte = 8 / l.depth;
  const int mask = (1 << l.depth) - 1;
  for (int64_t y = 0; y < l.height; ++y) {
    for (int64_t i = 0; i < l.samples; ++i) {
      const int64_t shift = (per_byte - 1 - i % per_byte) * l.depth;
      to[y * l.samples + i] = static_cast<uint8_t>((from[y * l.row_bytes + i / per_byte] >> shift) & mask);
    }
  }
}

// samples (u8, or u16 for depth 16); attrs: width, height, bit depth, channels -> rows
void png_pack(HostCall &call) {
  const Layout l = layout_of(call);
  if (l.depth == 16) {
    const auto *from = host_array<uint16_t>(call, 0, "samples", l.samples * l.height);
    auto *to = host_output<uint8_t>(call, l.row_bytes * l.height);
    for (int64_t i = 0; i < l.samples * l.height; ++i) {
      to[2 * i] = static_cast<uint8_t>(from[i] >> 8);
      to[2 * i + 1] = static_cast<uint8_t>(from[i] & 255);
    }
    return;
  }
  const auto *from = host_array<uint8_t>(call, 0, "samples", l.samples * l.height);
  auto *to = host_output<uint8_t>(call, l.row_bytes * l.height);
  const int64_t per_byte = 8 / l.depth;
  for (int64_t y = 0; y < l.height; ++y) {
    for (int64_t i = 0; i < l.samples; ++i) {
      const int value = from[y * l.samples + i];
      if (value >> l.depth) {
        fail(Status::option, "sample %d at row %lld does not fit %lld bits", value, static_cast<long long>(y),
             static_cast<long long>(l.depth));
      }
      const int64_t shift = (per_byte - 1 - i % per_byte) * l.depth;
      uint8_t &byte = to[y * l.row_bytes + i / per_byte];
      byte = static_cast<uint8_t>(byte | (value << shift));
    }
  }
}

}  // namespace

WM_REGISTER_HOST_OP(png_unpack, png_unpack)
WM_REGISTER_HOST_OP(png_pack, png_pack)

}  // namespace wm
