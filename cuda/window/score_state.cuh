// The running best over queries, per pixel: f32 planes [6 + 2 topk, rows, W]. "None yet" is -FLT_MAX, finite so that
// differences stay numbers.
//   0 best      largest logit of the queries that compete
//   1 sum       sum over all queries of exp(scale * (x - peak))
//   2 peak      largest logit of all queries
//   3 label     class of the best, exact in f32 (-1: none yet)
//   4 second    largest logit of a competing query of another class than the best's
//   5 moment    sum over all queries of t * exp(t), t = scale * (x - peak)
//   6 ..        topk best logits of different classes, falling; then their classes (-1: none)
// Queries are taken one after another in vocabulary order, and a state in memory has the bits of one in registers, so any
// cut of the vocabulary gives the same bits. Of equal logits the lower class wins. A query whose class is negative counts
// in sum, peak and moment but does not compete.
#pragma once

#include <cfloat>
#include <cmath>

#include "cuda/core/op.h"
#include "native/core/image_checks.h"

namespace wm::cuda {

constexpr float kNoScore = -FLT_MAX;

struct ScorePlan {
  float *data;
  int64_t plane;  // pixels of a plane
  float scale;    // before the softmax
  bool sum, second, moment;
  int topk;
};

// Attributes from `first`: scale, sum, second, moment, topk.
inline ScorePlan score_plan(const LaunchCall &call, const TensorView &state, int first) {
  const ScoreSettings s = read_score_settings(call, state, first);
  return {state.as<float>(), state.dim(1) * state.dim(2), s.scale, s.sum, s.second, s.moment, static_cast<int>(s.topk)};
}

struct QueryClasses {
  const int *of;  // [queries]
  int64_t queries;
  Refusal refusal;

  // By all threads of one block.
  __device__ __forceinline__ void refuse() const {
    for (int64_t s = threadIdx.x; s < queries; s += blockDim.x) {
      if (of[s] < -1 || of[s] > kMaxQueryClass) refusal.at(s, of[s]);
    }
  }
};

inline QueryClasses query_classes(LaunchCall &call, const TensorView &query_class, int64_t queries) {
  const int *classes = read_query_class(call, query_class, queries);
  const Refusal refusal = call.refuses_values(
      [](const RefusedValue &seen) { return refused_query_class(seen.position, seen.value[0]); });
  return {classes, queries, refusal};
}

// The six planes of one pixel in registers; its top k stay in memory. kSum, kRest: which planes are kept up to date, the
// same for all pixels of a launch.
template <bool kSum, bool kRest>
struct PixelScore {
  float best, sum, peak, label, second, moment;

  __device__ __forceinline__ void load(const ScorePlan &plan, int64_t i) {
    const float *p = plan.data + i;
    best = p[0];
    label = p[3 * plan.plane];
    if constexpr (kSum) {
      sum = p[plan.plane];
      peak = p[2 * plan.plane];
    }
    if constexpr (kRest) {
      second = p[4 * plan.plane];
      moment = p[5 * plan.plane];
    }
  }

  __device__ __forceinline__ void store(const ScorePlan &plan, int64_t i) const {
    float *p = plan.data + i;
    p[0] = best;
    p[3 * plan.plane] = label;
    if constexpr (kSum) {
      p[plan.plane] = sum;
      p[2 * plan.plane] = peak;
    }
    if constexpr (kRest) {
      p[4 * plan.plane] = second;
      p[5 * plan.plane] = moment;
    }
  }

  // Softmax sum relative to the running maximum: one exponential an update, of the distance between the two.
  __device__ __forceinline__ void add_to_sum(const ScorePlan &plan, float x) {
    const bool higher = x > peak;
    const float t = __fmul_rn(plan.scale, fabsf(__fsub_rn(x, peak)));
    const float e = expf(-t);
    if constexpr (kRest) {
      // exp(-200) is 0 in f32 anyway; the bound keeps 0 * infinity out of the first step.
      const float bounded = fminf(t, 200.0f);
      const float next = higher ? __fmul_rn(e, fmaf(-bounded, sum, moment)) : fmaf(-bounded, e, moment);
      if (plan.moment) moment = next;
    }
    sum = fmaf(higher ? sum : 1.0f, e, higher ? 1.0f : sum);
    peak = higher ? x : peak;
  }

  // Best and best of another label. When another label takes over, the old best is the best of the others.
  __device__ __forceinline__ void compete(const ScorePlan &plan, float x, float offered) {
    const bool same = label == offered;
    const bool takes = !same && (x > best || (x == best && offered < label));
    if constexpr (kRest) {
      if (plan.second && !same) second = fmaxf(second, fminf(x, best));
    }
    best = x > best ? x : best;
    label = takes ? offered : label;
  }

  __device__ __forceinline__ void take(const ScorePlan &plan, float x, int query_class) {
    if constexpr (kSum) add_to_sum(plan, x);
    if (query_class >= 0) compete(plan, x, static_cast<float>(query_class));
  }
};

// Inserts x of class `label` into the list of pixel i. What is pushed down replaces the class's old entry, if it had one.
__device__ __forceinline__ void take_top(const ScorePlan &plan, int64_t i, float x, int query_class) {
  if (query_class < 0) return;
  float *best = plan.data + kScorePlanes * plan.plane + i, *owners = best + plan.topk * plan.plane;
  const auto label = static_cast<float>(query_class);
  float value = x, held = label;
  bool inserted = false;
  for (int k = 0; k < plan.topk; ++k) {
    const float entry = best[k * plan.plane], owner = owners[k * plan.plane];
    if (inserted || value > entry || (value == entry && label < owner)) {
      best[k * plan.plane] = value;
      owners[k * plan.plane] = held;
      value = entry;
      held = owner;
      inserted = true;
    }
    if (owner == label) break;
  }
}

// launch(kSum, kRest) as compile-time flags.
template <class F>
void by_planes(const ScorePlan &plan, F &&launch) {
  using Yes = std::true_type;
  using No = std::false_type;
  const bool rest = plan.second || plan.moment;
  if (plan.sum) return rest ? launch(Yes{}, Yes{}) : launch(Yes{}, No{});
  return rest ? launch(No{}, Yes{}) : launch(No{}, No{});
}

}  // namespace wm::cuda
