#include "native/api/overlap.h"

namespace wm {

namespace {

// Bytes of a storage, from the first to behind the last that a view touches; both 0 for an empty one. Views were checked
// against their storage, so nothing here overflows.
struct Span {
  int64_t begin = 0, end = 0;
  bool meets(const Span &other) const { return begin < other.end && other.begin < end; }
};

Span span_of(const StorageView &operand) {
  const TensorView &view = operand.view;
  if (view.numel() == 0) return {};
  int64_t first = operand.offset, last = operand.offset;
  for (int d = 0; d < view.ndim; ++d) {
    const int64_t reach = (view.shape[d] - 1) * view.stride[d];
    (reach < 0 ? first : last) += reach;
  }
  const auto element = static_cast<int64_t>(dtype_size(view.dtype));
  return {first * element, (last + 1) * element};
}

}  // namespace

void check_overlap(const char *op, const std::vector<StorageView> &inputs, int in_place) {
  for (int i = 0; i < in_place; ++i) {
    const StorageView &changed = inputs[static_cast<size_t>(i)];
    for (size_t k = 0; k < inputs.size(); ++k) {
      if (static_cast<int>(k) == i || inputs[k].storage != changed.storage || !span_of(changed).meets(span_of(inputs[k]))) continue;
      fail(Status::usage, "%s: input %d is changed in place and shares memory with input %d: copy() that one first", op, i,
           static_cast<int>(k));
    }
  }
}

}  // namespace wm
