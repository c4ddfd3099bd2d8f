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

// attrs: iterations, then per term kind (0 none, 1 gaussian, 2 bilateral), sx, sy, sr, sg, sb, compat, normalisation.
// inputs: image?, unary, then per term an optional compat array [C] or [C, C], which replaces the number.
constexpr int kTermAttrs = 8;
constexpr int64_t kMaxSide = 65535;
constexpr int64_t kMaxPixels = int64_t{1} << 28;  // entries of a lattice, six a pixel, are counted in 32 bits
constexpr int64_t kRowBytes = int64_t{4} << 30;   // of the vertices' rows of all terms; more classes go in groups

struct Term {
  CrfLattice lattice;
  const float *factor = nullptr;  // [width] gain of a diagonal compatibility
  const float *matrix = nullptr;  // [C, C] compat itself
  float *rows = nullptr;          // [V, group]
};

CrfSpec read_spec(const LaunchCall &call, int first) {
  CrfSpec spec;
  const int64_t kind = call.attr_int(first);
  if (kind != 1 && kind != 2) call.reject("a term's kind must be 0, 1 or 2, got %lld", static_cast<long long>(kind));
  spec.dims = kind == 1 ? 2 : 5;
  for (int j = 0; j < spec.dims; ++j) {
    spec.scale[j] = static_cast<float>(call.attr(first + 1 + j));
    if (!(spec.scale[j] > 0.0f) || !std::isfinite(spec.scale[j])) {
      call.reject("a scale must be positive and finite, got %g", call.attr(first + 1 + j));
    }
  }
  const int64_t normalisation = call.attr_int(first + 7);
  if (normalisation < 0 || normalisation > 3) {
    call.reject("normalisation must be 0 (symmetric), 1 (none), 2 (before) or 3 (after), got %lld",
                static_cast<long long>(normalisation));
  }
  spec.normalisation = static_cast<CrfNormalisation>(normalisation);
  return spec;
}

// T -= compat(Y) (section 6). A number w is Potts, -w on the diagonal; an array is the diagonal or the matrix itself.
void read_compat(LaunchCall &call, int input, double potts, int classes, int width, Term *term) {
  const float *values = nullptr;
  if (call.has(input)) {
    const TensorView &compat = call.in(input);
    const bool matrix = compat.ndim == 2 && compat.dim(1) == classes;
    if (compat.dtype != DType::f32 || !(matrix || compat.ndim == 1) || compat.dim(0) != classes) {
      call.reject("compat must be f32 [C] or [C, C] with C = %d", classes);
    }
    values = compat.as<const float>();
    if (matrix) {
      term->matrix = values;
      return;
    }
  } else if (!std::isfinite(potts)) {
    call.reject("compat must be finite, got %g", potts);
  }
  float *factor = call.workspace<float>(width);
  WM_LAUNCH(crf_factor_kernel, dim3(blocks_for(width, kCrfThreads)), dim3(kCrfThreads), 0, call.stream(), values,
            static_cast<float>(potts), term->lattice.alpha(), classes, width, factor);
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

const uint8_t *read_image(const LaunchCall &call, int64_t height, int64_t width) {
  if (!call.has(0)) return nullptr;
  const TensorView &view = call.in(0);
  if (view.dtype != DType::u8 || view.ndim != 3 || view.dim(0) != height || view.dim(1) != width || view.dim(2) != 3) {
    call.reject("image must be u8 [%lld, %lld, 3]", static_cast<long long>(height), static_cast<long long>(width));
  }
  return view.as<const uint8_t>();
}

void dense_crf(LaunchCall &call) {
  const TensorView &unary = call.in(1);
  if (unary.dtype != DType::f32 || unary.ndim != 3) call.reject("unary must be f32 [C, H, W]");
  const int64_t classes = unary.dim(0), height = unary.dim(1), width = unary.dim(2), pixels = height * width;
  if (classes == 0 || pixels == 0) return;
  if (width > kMaxSide || height > kMaxSide || pixels > kMaxPixels) {
    call.reject("%lld x %lld pixels are too many: the limit is %lld a side and %lld in all",
                static_cast<long long>(width), static_cast<long long>(height), static_cast<long long>(kMaxSide),
                static_cast<long long>(kMaxPixels));
  }
  if (classes > 1 << 20) call.reject("%lld classes are too many: the limit is %d", static_cast<long long>(classes), 1 << 20);
  const int64_t iterations = call.attr_int(0);
  if (iterations < 0) call.reject("iterations must not be negative, got %lld", static_cast<long long>(iterations));
  const uint8_t *image = read_image(call, height, width);
  const CrfPixels order{static_cast<int>(width), static_cast<int>(height)};
  const int row_width = crf_row_width(classes);
  std::vector<Term> terms;
  for (int t = 0; t < kCrfMaxTerms && iterations > 0; ++t) {
    const int first = 1 + t * kTermAttrs;
    if (call.attr_int(first) == 0) continue;
    const CrfSpec spec = read_spec(call, first);
    if (spec.dims == 5 && image == nullptr) call.reject("a bilateral term needs an image");
    Term term;
    term.lattice = make_crf_lattice(call, order, image, spec);
    read_compat(call, 2 + t, call.attr(first + 6), static_cast<int>(classes), row_width, &term);
    terms.push_back(term);
  }
  MeanField(call, order, static_cast<int>(classes), std::move(terms))
      .run(unary.as<const float>(), iterations, call.out(0).as<float>());
}

}  // namespace

WM_REGISTER_CUDA_OP(dense_crf, dense_crf, kContiguous)

}  // namespace wm::cuda
