// confusion: pixels by label (row) and prediction (column), exact integers. The last column counts
// predictions outside 0..C-1. Pixels whose label is `ignore` or outside 0..C-1 are left out (evaluation.md
// section 6).
#include "native/host/host_args.h"

namespace wm {

namespace {

constexpr int64_t kMaxClasses = 3000;

// Two tables in turn: neighbouring pixels mostly hit one cell, and a store must not wait for the one before.
template <class P, class L>
void count(const HostCall &call, const P *pred, const L *label, int64_t n, int64_t classes, int64_t ignore,
           std::vector<uint32_t> (&tables)[2]) {
  const int64_t columns = classes + 1;
  constexpr int64_t kBlock = 1 << 20;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = begin + kBlock < n ? begin + kBlock : n;
    for (int64_t i = begin; i < end; ++i) {
      const auto row = static_cast<int64_t>(label[i]);
      if (row == ignore || row >= classes) continue;
      const auto value = static_cast<int64_t>(pred[i]);
      ++tables[i & 1][static_cast<size_t>(row * columns + (value < classes ? value : classes))];
    }
    host_check_cancelled(call);
  }
}

// pred and label: unsigned samples of 1, 2 or 4 bytes (a negative i32 counts as outside); attrs: classes,
// ignore (-1: none), bytes of pred, bytes of label -> f64 [C, C + 1]
void confusion(HostCall &call) {
  const int64_t classes = host_int(call, 0, "classes", 1, kMaxClasses);
  const int64_t ignore = host_int(call, 1, "ignore", -1, 0xffffffffll);
  const int64_t pred_bytes = host_int(call, 2, "bytes of a prediction", 1, 4);
  const int64_t label_bytes = host_int(call, 3, "bytes of a label", 1, 4);
  const auto n = static_cast<int64_t>(call.inputs.empty() ? 0 : call.inputs[0].size) / pred_bytes;
  if (n > kMaxHostPixels)
    fail(Status::option, "confusion: too many pixels (%lld)", static_cast<long long>(n));
  const auto cells = static_cast<size_t>(classes * (classes + 1));
  std::vector<uint32_t> tables[2] = {std::vector<uint32_t>(cells), std::vector<uint32_t>(cells)};
  with_samples(call, 0, "predictions", pred_bytes, n, [&](auto *pred) {
    with_samples(call, 1, "labels", label_bytes, n,
                 [&](auto *label) { count(call, pred, label, n, classes, ignore, tables); });
  });
  auto *out = host_output<double>(call, static_cast<int64_t>(cells));
  for (size_t i = 0; i < cells; ++i) out[i] = static_cast<double>(uint64_t{tables[0][i]} + tables[1][i]);
}

}  // namespace

WM_REGISTER_HOST_OP(confusion, confusion)

}  // namespace wm
