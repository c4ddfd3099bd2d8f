// confusion, confusion_pairs: pixels by label (row) and prediction (column), exact integers. The last column
// counts predictions outside 0..C-1 (evaluation.md section 6). Maps are counted by runs of equal pairs, which
// label maps are made of; each call has a table of its own, so calls run side by side and their sums are exact.
#include <algorithm>
#include <cstdlib>
#include <memory>

#include "native/host/host_args.h"

namespace wm {

namespace {

constexpr int64_t kMaxClasses = 4096;
constexpr int64_t kBlock = 1 << 20;

struct Free {
  void operator()(void *memory) const { std::free(memory); }
};

// Counts [C, C + 1], zeroed by the system page by page as they are touched: with 4096 classes a table has
// 64 MiB, of which a picture uses little.
struct Table {
  int64_t classes = 0, columns = 0;
  std::unique_ptr<uint32_t, Free> counts;
  std::vector<uint32_t> touched;
  int64_t outside = 0, outside_value = 0;

  explicit Table(int64_t c) : classes(c), columns(c + 1) {
    counts.reset(static_cast<uint32_t *>(std::calloc(static_cast<size_t>(c * (c + 1)), sizeof(uint32_t))));
    if (counts == nullptr) fail(Status::memory, "confusion: no memory for %lld classes", static_cast<long long>(c));
  }

  void add(int64_t label, int64_t pred, uint32_t pixels) {
    const auto cell = static_cast<uint32_t>(label * columns + std::min(pred, classes));
    uint32_t &count = counts.get()[cell];
    if (count == 0) touched.push_back(cell);
    count += pixels;
  }
};

// Pixels whose label is in `ignore` are left out; labels outside 0..C-1 are counted apart.
template <class P, class L>
void count(const HostCall &call, const P *pred, const L *label, int64_t n, const std::vector<int64_t> &ignore,
           Table &table) {
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, n);
    for (int64_t i = begin; i < end;) {
      const P p = pred[i];
      const L l = label[i];
      const int64_t first = i++;
      while (i < end && pred[i] == p && label[i] == l) ++i;
      const auto row = static_cast<int64_t>(l);
      if (std::find(ignore.begin(), ignore.end(), row) != ignore.end()) continue;
      if (row < table.classes) {
        table.add(row, static_cast<int64_t>(p), static_cast<uint32_t>(i - first));
        continue;
      }
      if (table.outside == 0) table.outside_value = row;
      table.outside += i - first;
    }
    host_check_cancelled(call);
  }
}

Table counted(const HostCall &call, int64_t pred_bytes, int64_t label_bytes, const std::vector<int64_t> &ignore) {
  Table table(host_int(call, 0, "classes", 1, kMaxClasses));
  const auto n = static_cast<int64_t>(call.inputs.empty() ? 0 : call.inputs[0].size) / pred_bytes;
  if (n > kMaxHostPixels)
    fail(Status::option, "confusion: too many pixels (%lld)", static_cast<long long>(n));
  with_samples(call, 0, "predictions", pred_bytes, n, [&](auto *pred) {
    with_samples(call, 1, "labels", label_bytes, n,
                 [&](auto *label) { count(call, pred, label, n, ignore, table); });
  });
  return table;
}

// pred and label: unsigned samples of 1, 2 or 4 bytes (a negative i32 counts as outside); attrs: classes,
// ignore (-1: none), bytes of pred, bytes of label -> f64 [C, C + 1]; labels outside 0..C-1 are left out
void confusion(HostCall &call) {
  const int64_t ignore = host_int(call, 1, "ignore", -1, 0xffffffffll);
  const Table table = counted(call, host_int(call, 2, "bytes of a prediction", 1, 4),
                              host_int(call, 3, "bytes of a label", 1, 4), {ignore});
  auto *out = host_output<double>(call, table.classes * table.columns);
  for (const uint32_t cell : table.touched) out[cell] = table.counts.get()[cell];
}

// The same counts without the zeros: attrs: classes, bytes of pred, bytes of label, ignored labels... ->
// u32 cells in rising order, u32 counts, f64 [2]: pixels with a label outside, the first such label
void confusion_pairs(HostCall &call) {
  std::vector<int64_t> ignore;
  for (size_t i = 3; i < call.attrs.size(); ++i) ignore.push_back(host_int(call, i, "ignore", 0, 0xffffffffll));
  Table table = counted(call, host_int(call, 1, "bytes of a prediction", 1, 4),
                        host_int(call, 2, "bytes of a label", 1, 4), ignore);
  std::sort(table.touched.begin(), table.touched.end());
  std::vector<uint32_t> counts(table.touched.size());
  for (size_t i = 0; i < counts.size(); ++i) counts[i] = table.counts.get()[table.touched[i]];
  host_output(call, table.touched);
  host_output(call, counts);
  auto *outside = host_output<double>(call, 2);
  outside[0] = static_cast<double>(table.outside);
  outside[1] = static_cast<double>(table.outside_value);
}

}  // namespace

WM_REGISTER_HOST_OP(confusion, confusion)
WM_REGISTER_HOST_OP(confusion_pairs, confusion_pairs)

}  // namespace wm
