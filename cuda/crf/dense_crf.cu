// Mean field inference of a fully connected CRF with Gaussian filter terms (Krahenbuhl & Koltun 2011; dense-crf.md):
//   Q <- softmax(-U + sum over terms of compat(filter(Q))), `iterations` times from Q = softmax(-U).
// Values are f32, sums gather in a fixed order, so the result repeats bit for bit. A diagonal compatibility is a factor in
// the last blur, a matrix is applied to Q before the splat.
// Floor (section 10): 12*N*Cp bytes of HBM and 8*N*(d+1)*Cp + 8*M*Cp + 16*(d+1)*M*Cp bytes of cache an iteration and term,
// of which the cache is the greater; with the 14 launches an iteration of two terms it is the expected limiter.
#include <cmath>
#include <vector>

#include "cuda/core/op.h"
#include "cuda/crf/crf_rows.cuh"

namespace wm::cuda {

namespace {

constexpr int64_t kRowBytes = int64_t{4} << 30;   // of the vertices' rows of all terms; more classes go in groups

struct Term {
  CrfLattice lattice;
  const float *factor = nullptr;  // [width] gain of a diagonal compatibility
  const float *matrix = nullptr;  // [C, C] compat itself
  float *rows = nullptr;          // [V, group]
};

void set_compat(LaunchCall &call, const CrfCompat &compat, int classes, int width, Term *term) {
  if (compat.matrix) {
    term->matrix = compat.values;
    return;
  }
  float *factor = call.workspace<float>(width);
  WM_LAUNCH(crf_factor_kernel, dim3(blocks_for(width, kCrfThreads)), dim3(kCrfThreads), 0, call.stream(), compat.values,
            static_cast<float>(compat.potts), term->lattice.alpha(), classes, width, factor);
  term->factor = factor;
}

class MeanField {
 public:
  MeanField(LaunchCall &call, const CrfPixels &pixels, int classes, std::vector<Term> terms)
      : call_(call), pixels_(pixels), n_(static_cast<int64_t>(pixels.width) * pixels.height), classes_(classes),
        width_(crf_row_width(classes)), terms_(std::move(terms)) {
    scores_ = call.workspace<float>(n_ * width_);
    q_ = call.workspace<float>(n_ * width_);
    if (!terms_.empty()) allocate_rows();
  }

  void run(const float *unary, int64_t iterations, float *out) {
    const dim3 tiles(blocks_for(n_, kTileSide), blocks_for(width_, kTileSide));
    const Refusal refusal = call_.refuses(
        [height = pixels_.height, width = pixels_.width](const RefusedValue &seen) { return refused_nan(seen.position, height, width); },
        Status::numeric);
    WM_LAUNCH(crf_read_unary_kernel, tiles, dim3(kCrfThreads), 0, call_.stream(), pixels_, unary, n_, classes_, width_, refusal,
              scores_);
    update({}, scores_);
    for (int64_t i = 0; i < iterations && !terms_.empty(); ++i) {
      if (group_ == width_ && width_ <= kCrfFusedWidth) update(filter_terms(0, width_), scores_);
      else iterate_by_groups();
    }
    WM_LAUNCH(crf_write_planes_kernel, tiles, dim3(kCrfThreads), 0, call_.stream(), pixels_, q_, n_, classes_, width_, out);
  }

 private:
  // Rows of all terms, one more set for the blurs to alternate with, and the pieces of long lists.
  void allocate_rows() {
    int64_t capacity = 0, largest = 0, pieces = 0;
    bool mixes = false;
    for (const Term &term : terms_) {
      capacity += term.lattice.capacity;
      largest = std::max(largest, term.lattice.capacity);
      pieces = std::max(pieces, term.lattice.max_pieces());
      mixes |= term.matrix != nullptr;
    }
    const int64_t channel_bytes = (capacity + largest + pieces) * static_cast<int64_t>(sizeof(float));
    const int64_t fitting = std::max<int64_t>(8, kRowBytes / channel_bytes / 8 * 8);
    group_ = static_cast<int>(std::min<int64_t>({width_, fitting, kCrfFusedWidth}));
    for (Term &term : terms_) term.rows = call_.workspace<float>(term.lattice.capacity * group_);
    other_ = call_.workspace<float>(largest * group_);
    parts_ = call_.workspace<float>(pieces * group_);
    if (mixes) mixed_ = call_.workspace<float>(n_ * group_);
    if (group_ < width_) total_ = call_.workspace<float>(n_ * width_);
  }

  // Filters the classes first .. first + count of Q by every term.
  CrfSlices filter_terms(int first, int count) {
    CrfSlices slices{};
    for (const Term &term : terms_) {
      const float *x = q_ + first, *factor = nullptr;
      int64_t stride = width_;
      if (term.matrix == nullptr) {
        factor = term.factor + first;
      } else {
        const dim3 tiles(blocks_for(n_, kTileSide), blocks_for(count, kTileSide));
        WM_LAUNCH(crf_mix_kernel, tiles, dim3(kCrfThreads), 0, call_.stream(), term.matrix, term.lattice.alpha(), q_, n_,
                  width_, classes_, first, count, mixed_);
        x = mixed_;
        stride = count;
      }
      crf_filter<4>(call_, term.lattice, x, stride, count / 4, factor, term.rows, other_, parts_);
      auto &slice = slices.term[slices.count++];
      slice.corner = term.lattice.corner;
      slice.rows = term.rows;
      slice.corners = term.lattice.corners;
    }
    return slices;
  }

  void iterate_by_groups() {
    for (int first = 0; first < width_; first += group_) {
      const int count = std::min(group_, width_ - first);
      const CrfSlices slices = filter_terms(first, count);
      WM_LAUNCH(crf_add_slices_kernel, crf_grid(call_, n_, count / 4), dim3(kCrfThreads), 0, call_.stream(), slices,
                scores_ + first, n_, width_, count / 4, total_ + first);
    }
    update({}, total_);
  }

  void update(const CrfSlices &slices, const float *scores) {
    if (width_ <= kCrfFusedWidth) {
      crf_update(call_, slices, scores, n_, width_ / 4, q_);
    } else {
      WM_LAUNCH(crf_softmax_kernel, dim3(blocks_for(n_, kCrfThreads / kWarp)), dim3(kCrfThreads), 0, call_.stream(), scores,
                n_, width_, q_);
    }
  }

  LaunchCall &call_;
  const CrfPixels pixels_;
  const int64_t n_;
  const int classes_, width_;
  std::vector<Term> terms_;
  int group_ = 0;  // classes filtered at a time
  float *scores_, *q_, *other_ = nullptr, *parts_ = nullptr, *mixed_ = nullptr, *total_ = nullptr;
};

void dense_crf(LaunchCall &call) {
  const CrfCall crf = read_crf_call(call);
  if (crf.empty()) return;
  if (crf.classes > 1 << 20) {
    call.reject("%lld classes are too many: the limit is %d", static_cast<long long>(crf.classes), 1 << 20);
  }
  const CrfPixels order{static_cast<int>(crf.width), static_cast<int>(crf.height)};
  const int classes = static_cast<int>(crf.classes);
  std::vector<Term> terms;
  for (int t = 0; t < crf.count && crf.iterations > 0; ++t) {
    Term term;
    term.lattice = make_crf_lattice(call, order, crf.image, crf.term[t].spec);
    set_compat(call, crf.term[t].compat, classes, crf_row_width(classes), &term);
    terms.push_back(term);
  }
  MeanField(call, order, classes, std::move(terms))
      .run(call.in(1).as<const float>(), crf.iterations, call.out(0).as<float>());
}

}  // namespace

WM_REGISTER_CUDA_OP(dense_crf, dense_crf, kContiguous)

}  // namespace wm::cuda
