// Rows of a contiguous matrix, each owned by one warp (up to 1024 values) or one block. A row is loaded once with
// 16-byte loads into registers; beyond 16384 values (4096 where the width is ragged) it is read again at each visit. Which values a thread owns, and with it
// the order of every sum, follows from the width alone: a row's bits do not depend on the rows beside it.
#pragma once

#include "cuda/core/op.h"
#include "cuda/core/reduce.cuh"

namespace wm::cuda {

// kCount neighbouring values as f32, in loads of up to 16 bytes where the caller knows that they are aligned.
template <int kCount, class T>
__device__ __forceinline__ void load_values(const T *from, bool aligned, float (&to)[kCount]) {
  if constexpr (kCount > 1) {
    if (aligned) {
      constexpr int kChunk = kCount < kVectorWidth<T> ? kCount : kVectorWidth<T>;
#pragma unroll
      for (int c = 0; c < kCount / kChunk; ++c) {
        const auto chunk = load_vector<T, kChunk>(from + c * kChunk);
#pragma unroll
        for (int i = 0; i < kChunk; ++i) to[c * kChunk + i] = to_float(chunk.value[i]);
      }
      return;
    }
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) to[i] = to_float(from[i]);
}

template <int kCount, class T>
__device__ __forceinline__ void store_values(T *to, bool aligned, const float (&from)[kCount]) {
  if constexpr (kCount > 1) {
    if (aligned) {
      constexpr int kChunk = kCount < kVectorWidth<T> ? kCount : kVectorWidth<T>;
#pragma unroll
      for (int c = 0; c < kCount / kChunk; ++c) {
        Vector<T, kChunk> chunk;
#pragma unroll
        for (int i = 0; i < kChunk; ++i) chunk.value[i] = from_float<T>(from[c * kChunk + i]);
        store_vector(to + c * kChunk, chunk);
      }
      return;
    }
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) to[i] = from_float<T>(from[i]);
}

inline bool aligned16(const void *data) { return reinterpret_cast<uintptr_t>(data) % 16 == 0; }

// How rows are dealt to threads: groups of kGroup threads (32: a warp, else the whole block) hold kSteps packs of kPack
// neighbouring values a thread, lane after lane. kSteps 0: the row stays in memory.
template <int group, int pack, int steps>
struct RowForm {
  static constexpr int kGroup = group, kPack = pack, kSteps = steps;
  static constexpr int kThreads = group == 32 ? 128 : group;
  static constexpr int kRows = kThreads / kGroup;  // rows a block

  static __device__ int64_t row() {
    return static_cast<int64_t>(blockIdx.x) * kRows + (kRows > 1 ? threadIdx.x / 32 : 0);
  }
  static __device__ int lane() { return static_cast<int>(kRows > 1 ? threadIdx.x % 32 : threadIdx.x); }
  // All threads of the row get the result. `shared`: 32 floats of the block.
  static __device__ float sum(float value, float *shared) {
    if constexpr (kGroup == 32) return warp_sum(value);
    else return block_sum(value, shared);
  }
  static __device__ float max(float value, float *shared) {
    if constexpr (kGroup == 32) return warp_max(value);
    else return block_max(value, shared);
  }
};

template <class T, class Form>
class Row {
 public:
  // True: values changed by a visit are seen by the next one.
  static constexpr bool kKept = Form::kSteps > 0;

  __device__ Row(const T *row, int width, bool aligned)
      : row_(row), width_(width), lane_(Form::lane()), aligned_(aligned) {
#pragma unroll
    for (int s = 0; s < Form::kSteps; ++s) {
      const int at = column(s);
      if (at < width_) load_values(row_ + at, aligned_, values_[s]);
    }
  }

  // body(values [kPack], first column) for every pack of this thread.
  template <class Body>
  __device__ void visit(const Body &body) {
    if constexpr (kKept) {
#pragma unroll
      for (int s = 0; s < Form::kSteps; ++s) {
        if (column(s) < width_) body(values_[s], column(s));
      }
    } else {
      for (int s = 0; column(s) < width_; ++s) {
        load_values(row_ + column(s), aligned_, values_[0]);
        body(values_[0], column(s));
      }
    }
  }

  // body(values of this row, values of `other`, first column)
  template <class U, class Body>
  __device__ void visit_with(Row<U, Form> &other, const Body &body) {
    if constexpr (kKept) {
#pragma unroll
      for (int s = 0; s < Form::kSteps; ++s) {
        if (column(s) < width_) body(values_[s], other.values_[s], column(s));
      }
    } else {
      for (int s = 0; column(s) < width_; ++s) {
        load_values(row_ + column(s), aligned_, values_[0]);
        load_values(other.row_ + column(s), other.aligned_, other.values_[0]);
        body(values_[0], other.values_[0], column(s));
      }
    }
  }

 private:
  template <class, class>
  friend class Row;

  __device__ int column(int step) const { return (step * Form::kGroup + lane_) * Form::kPack; }

  const T *row_;
  int width_, lane_;
  bool aligned_;
  float values_[Form::kSteps > 0 ? Form::kSteps : 1][Form::kPack];
};

template <int kPack, class Launch>
void dispatch_row_form(int64_t width, const Launch &launch) {
  if (width <= 256) return launch(RowForm<32, kPack, 8 / kPack>{});
  if constexpr (kPack > 1) {
    if (width <= 768) return launch(RowForm<32, kPack, 24 / kPack>{});
  }
  if (width <= 1024) return launch(RowForm<32, kPack, 32 / kPack>{});
  if (width <= 4096) return launch(RowForm<256, kPack, 16 / kPack>{});
  // Ragged rows of this length stay in the first-level cache: their addresses would not fit 1024 threads' registers.
  if constexpr (kPack > 1) {
    if (width <= 16384) return launch(RowForm<1024, kPack, 16 / kPack>{});
  }
  launch(RowForm<512, kPack, 0>{});
}

// Calls launch(RowForm) for rows of `width` values; kPack values fill 16 bytes of the rows' narrowest type.
template <int kPack, class Launch>
void dispatch_rows(const LaunchCall &call, int64_t width, const Launch &launch) {
  // Columns are counted in 32 bits, with room for one step past the end.
  if (width > (int64_t{1} << 30)) call.reject("rows of %lld values are too long", static_cast<long long>(width));
  if (width % kPack == 0) return dispatch_row_form<kPack>(width, launch);
  dispatch_row_form<1>(width, launch);
}

template <class... Ts>
constexpr int row_pack() {
  return ((sizeof(Ts) == 2) || ...) ? 8 : 4;
}

// Blocks of a launch over `rows` rows.
template <class Form>
dim3 row_grid(int64_t rows) {
  return dim3(blocks_for(rows, Form::kRows));
}

}  // namespace wm::cuda
