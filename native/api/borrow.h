// The functions behind wordmask.h that share memory with a neighbour: lent pointers, DLPack.
#pragma once

#include "include/wordmask.h"

namespace wm {

// Elements from the first to the last that a view touches, counted from its element 0.
struct Extent {
  int64_t low = 0, high = -1;  // high < low: none
  int64_t count() const { return high - low + 1; }
};

// Throws Status::usage, `what` in front, for sizes and strides that no memory has.
Extent extent_of(const char *what, const wm_view &view);

wm_status storage_borrow(wm_executor *executor, void *data, size_t bytes, void *stream, wm_done released, void *user,
                         wm_storage **out);
wm_status dlpack_import(wm_executor *executor, wm_dlpack *tensor, void *stream, wm_view *out);
wm_status dlpack_export(wm_executor *executor, const wm_view *view, wm_dlpack **out, wm_done done, void *user);

}  // namespace wm
