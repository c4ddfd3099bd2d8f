// The running best over queries, per pixel: f32 planes [6 + 2 topk, rows, W].
// "None yet" is -FLT_MAX, finite so that differences stay numbers.
//   0 best      largest logit of the queries that compete
//   1 sum       sum over all queries of exp(scale * (x - peak))
//   2 peak      largest logit of all queries
//   3 label     class of the best, exact in f32 (-1: none yet)
//   4 second    largest logit of a competing query of another class than the best's
//   5 moment    sum over all queries of t * exp(t), t = scale * (x - peak)
//   6 ..        topk best logits of different classes, falling; then their classes (-1: none)
// Queries are taken one after another in vocabulary order, so any cut of the vocabulary gives the same bits.
// Of equal logits the lower class wins. A query of class -1 counts in sum, peak and moment but does not
// compete.
#pragma once

#include "native/core/image_checks.h"
#include "native/core/op.h"
#include "native/cpu/window/merge_rows.h"

namespace wm {

// Queries that go into the state at one visit.
constexpr int64_t kQueriesAtOnce = 4;

// A state tensor [6 + 2 topk, rows, W] and its classes i32 [S], checked.
class ScoreState {
 public:
  // Attributes from `first_attr`: scale, sum, second, moment, topk.
  ScoreState(const OpCall &call, const TensorView &state, int first_attr);

  int64_t rows() const { return rows_; }
  int64_t width() const { return width_; }
  // Takes `count` queries into n pixels from (row, column) on.
  void take(int64_t row, int64_t column, int64_t n, const float *const *logits, const int32_t *labels,
            int64_t count) const;

 private:
  float *data_;
  int64_t rows_, width_, plane_;
  ScoreSettings settings_;
};

const int32_t *checked_query_class(const OpCall &call, const TensorView &query_class, int64_t queries);

}  // namespace wm
