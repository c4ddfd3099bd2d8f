// A flat buffer and the tensors whose elements it holds one after another. Each tensor of an op's variadic tail stands
// for the next sizes[i] elements; where one was not given (a parameter without a gradient), its part is left as it is.
#pragma once

#include <algorithm>
#include <vector>

#include "native/core/op.h"
#include "native/core/refused_values.h"

namespace wm {

struct FlatPiece {
  int source;             // input number
  int64_t begin, offset;  // in the flat buffer, and in the source
  int64_t count;
};

// Elements a parallel task takes: large enough to hide its dispatch, small enough to share out.
constexpr int64_t kFlatGrain = 1 << 15;

// Pieces of at most kFlatGrain elements: a function of the sizes alone. `first` is the number of the first source.
inline std::vector<FlatPiece> flat_pieces(const OpCall &call, int sizes_input, int first, const TensorView &flat) {
  const TensorView &sizes = call.in(sizes_input);
  if (sizes.dtype != DType::i32 || sizes.numel() < call.num_inputs() - first) call.reject("needs one i32 size a tensor");
  std::vector<FlatPiece> pieces;
  int64_t begin = 0;
  for (int64_t i = 0; i < sizes.numel(); ++i) {
    const int source = first + static_cast<int>(i);
    const int64_t size = sizes.as<int32_t>()[i];
    if (size < 0 || size > flat.numel() - begin) call.reject(refused_size_beyond());
    if (call.has(source)) {
      const TensorView &part = call.in(source);
      if (part.dtype != flat.dtype || part.numel() != size) {
        call.reject(refused_size(i, size, dtype_name(flat.dtype), part.numel(), dtype_name(part.dtype)));
      }
      for (int64_t at = 0; at < size; at += kFlatGrain) {
        pieces.push_back({source, begin + at, at, std::min(kFlatGrain, size - at)});
      }
    }
    begin += size;
  }
  if (begin != flat.numel()) call.reject(refused_size_short());
  return pieces;
}

// body(piece) over all pieces; no two write the same elements.
template <class Body>
void for_pieces(const OpCall &call, const std::vector<FlatPiece> &pieces, const Body &body) {
  call.parallel(static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(pieces[static_cast<size_t>(i)]);
  });
}

// Calls body with a value of the flat buffer's element type, f32 or f64.
template <class Body>
void dispatch_flat(const OpCall &call, DType dtype, const Body &body) {
  if (dtype == DType::f32) return body(float{});
  if (dtype == DType::f64) return body(double{});
  call.reject("flat buffers are f32 or f64, got %s", dtype_name(dtype));
}

}  // namespace wm
