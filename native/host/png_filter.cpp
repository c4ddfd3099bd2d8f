// png_unfilter, png_filter: the five row filters of PNG (ISO 15948 section 9) on rows of `row_bytes` bytes
// whose samples repeat every `pixel_bytes` bytes (1 for depths under 8). A filtered row has its filter number
// in front.
#include <algorithm>
#include <cstdlib>

#include "native/host/host_args.h"

namespace wm {

namespace {

constexpr int kFilters = 5;
constexpr int64_t kAdaptive = 5;  // per row the filter with the smallest sum of absolute differences

inline int paeth(int a, int b, int c) {
  const int pa = std::abs(b - c), pb = std::abs(a - c), pc = std::abs(a + b - 2 * c);
  if (pa <= pb && pa <= pc) return a;
  return pb <= pc ? b : c;
}

// `up` is the finished row above (zeros above the first).
void unfilter_row(int filter, uint8_t *row, const uint8_t *up, int64_t n, int64_t step) {
  switch (filter) {
    case 0: return;
    case 1:
      for (int64_t i = step; i < n; ++i) row[i] = static_cast<uint8_t>(row[i] + row[i - step]);
      return;
    case 2:
      for (int64_t i = 0; i < n; ++i) row[i] = static_cast<uint8_t>(row[i] + up[i]);
      return;
    case 3:
      for (int64_t i = 0; i < n; ++i) {
        const int left = i < step ? 0 : row[i - step];
        row[i] = static_cast<uint8_t>(row[i] + ((left + up[i]) >> 1));
      }
      return;
    default:
      for (int64_t i = 0; i < n; ++i) {
        const int left = i < step ? 0 : row[i - step], corner = i < step ? 0 : up[i - step];
        row[i] = static_cast<uint8_t>(row[i] + paeth(left, up[i], corner));
      }
  }
}

void filter_row(int filter, const uint8_t *row, const uint8_t *up, int64_t n, int64_t step, uint8_t *out) {
  for (int64_t i = 0; i < n; ++i) {
    const int left = i < step ? 0 : row[i - step], corner = i < step ? 0 : up[i - step];
    int predicted = 0;
    if (filter == 1)
      predicted = left;
    else if (filter == 2)
      predicted = up[i];
    else if (filter == 3)
      predicted = (left + up[i]) >> 1;
    else if (filter == 4)
      predicted = paeth(left, up[i], corner);
    out[i] = static_cast<uint8_t>(row[i] - predicted);
  }
}

struct Rows {
  int64_t row_bytes, height, step;
};

Rows rows_of(const HostCall &call) {
  const int64_t row_bytes = host_int(call, 0, "row bytes", 1, int64_t{1} << 31);
  const int64_t height = host_int(call, 1, "height", 0, int64_t{1} << 31);
  if (height > (kMaxHostPixels * 8) / (row_bytes + 1))
    fail(Status::option, "the image is over the size limit");
  return {row_bytes, height, host_int(call, 2, "pixel bytes", 1, 8)};
}

// filtered bytes; attrs: row bytes, height, pixel bytes -> row_bytes * height bytes
void png_unfilter(HostCall &call) {
  const Rows rows = rows_of(call);
  const uint8_t *from = host_array<uint8_t>(call, 0, "filtered rows", (rows.row_bytes + 1) * rows.height);
  uint8_t *out = host_output<uint8_t>(call, rows.row_bytes * rows.height);
  const std::vector<uint8_t> zeros(static_cast<size_t>(rows.row_bytes));
  const uint8_t *up = zeros.data();
  for (int64_t y = 0; y < rows.height; ++y) {
    const uint8_t *row = from + y * (rows.row_bytes + 1);
    if (row[0] >= kFilters)
      fail(Status::usage, "row %lld has filter %d, PNG knows 0..4", static_cast<long long>(y), row[0]);
    uint8_t *to = out + y * rows.row_bytes;
    std::memcpy(to, row + 1, static_cast<size_t>(rows.row_bytes));
    unfilter_row(row[0], to, up, rows.row_bytes, rows.step);
    up = to;
    if ((y & 255) == 0) host_check_cancelled(call);
  }
}

int64_t cost(const uint8_t *row, int64_t n) {
  int64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::abs(static_cast<int>(static_cast<int8_t>(row[i])));
  return sum;
}

// raw rows; attrs: row bytes, height, pixel bytes, filter (0..4, 5 = per row the best) -> filtered rows
void png_filter(HostCall &call) {
  const Rows rows = rows_of(call);
  const int64_t wanted = host_int(call, 3, "filter", 0, kAdaptive);
  const uint8_t *from = host_array<uint8_t>(call, 0, "rows", rows.row_bytes * rows.height);
  uint8_t *out = host_output<uint8_t>(call, (rows.row_bytes + 1) * rows.height);
  const std::vector<uint8_t> zeros(static_cast<size_t>(rows.row_bytes));
  std::vector<uint8_t> trial(static_cast<size_t>(rows.row_bytes));
  for (int64_t y = 0; y < rows.height; ++y) {
    const uint8_t *row = from + y * rows.row_bytes;
    const uint8_t *up = y > 0 ? row - rows.row_bytes : zeros.data();
    uint8_t *to = out + y * (rows.row_bytes + 1);
    int best = wanted == kAdaptive ? 0 : static_cast<int>(wanted);
    if (wanted == kAdaptive) {
      int64_t best_cost = INT64_MAX;
      for (int f = 0; f < kFilters; ++f) {
        filter_row(f, row, up, rows.row_bytes, rows.step, trial.data());
        const int64_t c = cost(trial.data(), rows.row_bytes);
        if (c < best_cost) best = f;
        best_cost = std::min(best_cost, c);
      }
    }
    to[0] = static_cast<uint8_t>(best);
    filter_row(best, row, up, rows.row_bytes, rows.step, to + 1);
    if ((y & 255) == 0) host_check_cancelled(call);
  }
}

}  // namespace

WM_REGISTER_HOST_OP(png_unfilter, png_unfilter)
WM_REGISTER_HOST_OP(png_filter, png_filter)

}  // namespace wm
