// What a call of dense_crf asks for (dense-crf.md), read and checked for the CPU's kernel and the device's launcher alike.
// attrs: iterations, then per term kind (0 none, 1 gaussian, 2 bilateral), sx, sy, sr, sg, sb, compat, normalisation.
// inputs: image?, unary, then per term an optional compat array [C] or [C, C], which replaces the number.
#pragma once

#include "native/core/op_arguments.h"

namespace wm {

constexpr int kCrfMaxTerms = 8;
constexpr int kCrfTermAttrs = 8;
constexpr int64_t kCrfMaxSide = 65535;                 // sides beyond this do not fit the packed coordinates
constexpr int64_t kCrfMaxPixels = int64_t{1} << 28;    // entries of a lattice, six a pixel, are counted in 32 bits
constexpr double kCrfMaxCoordinate = 4194304.0;        // coordinates must stay exact integers in f32, with room to round them
constexpr float kCrfUnaryLimit = 1e30f;                // keeps a pixel with no possible class finite

enum class CrfNormalisation : int { symmetric = 0, none = 1, before = 2, after = 3 };

// One filter term.
struct CrfSpec {
  int dims = 2;          // 2: position; 5: position and colour
  float scale[5] = {};   // sx, sy, sr, sg, sb
  CrfNormalisation normalisation = CrfNormalisation::symmetric;
};

// T -= compat(Y) (section 6): a number w is Potts, -w on the diagonal; an array is the diagonal or the matrix itself.
struct CrfCompat {
  double potts = 0;
  const float *values = nullptr;  // null: potts
  bool matrix = false;
};

struct CrfCall {
  int64_t classes, height, width, iterations = 0;
  const uint8_t *image = nullptr;  // null: none
  int count = 0;
  struct {
    CrfSpec spec;
    CrfCompat compat;
  } term[kCrfMaxTerms];

  int64_t pixels() const { return height * width; }
  bool empty() const { return classes == 0 || pixels() == 0; }
};

inline CrfSpec read_crf_spec(const OpArguments &call, int first) {
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

inline CrfCompat read_crf_compat(const OpArguments &call, int input, double potts, int64_t classes) {
  if (!call.has(input)) {
    if (!std::isfinite(potts)) call.reject("compat must be finite, got %g", potts);
    return {potts, nullptr, false};
  }
  const TensorView &compat = call.in(input);
  const bool matrix = compat.ndim == 2 && compat.dim(1) == classes;
  if (compat.dtype != DType::f32 || !(matrix || compat.ndim == 1) || compat.dim(0) != classes) {
    call.reject("compat must be f32 [C] or [C, C] with C = %lld", static_cast<long long>(classes));
  }
  return {0.0, compat.as<const float>(), matrix};
}

// The span of the lattice coordinates of a term.
inline void check_crf_span(const OpArguments &call, int dims, double span) {
  if (span < kCrfMaxCoordinate) return;
  call.reject("a scale of the %s term is too small: lattice coordinates span %g, the limit is %g; use larger sxy or srgb",
              dims == 2 ? "gaussian" : "bilateral", span, kCrfMaxCoordinate);
}

inline const uint8_t *read_crf_image(const OpArguments &call, int64_t height, int64_t width) {
  if (!call.has(0)) return nullptr;
  const TensorView &view = call.in(0);
  if (view.dtype != DType::u8 || view.ndim != 3 || view.dim(0) != height || view.dim(1) != width || view.dim(2) != 3) {
    call.reject("image must be u8 [%lld, %lld, 3]", static_cast<long long>(height), static_cast<long long>(width));
  }
  return view.as<const uint8_t>();
}

// Of an empty picture the shape alone.
inline CrfCall read_crf_call(const OpArguments &call) {
  const TensorView &unary = call.in(1);
  if (unary.dtype != DType::f32 || unary.ndim != 3) call.reject("unary must be f32 [C, H, W]");
  CrfCall crf;
  crf.classes = unary.dim(0);
  crf.height = unary.dim(1);
  crf.width = unary.dim(2);
  if (crf.empty()) return crf;
  if (crf.width > kCrfMaxSide || crf.height > kCrfMaxSide || crf.pixels() > kCrfMaxPixels) {
    call.reject("%lld x %lld pixels are too many: the limit is %lld a side and %lld in all",
                static_cast<long long>(crf.width), static_cast<long long>(crf.height),
                static_cast<long long>(kCrfMaxSide), static_cast<long long>(kCrfMaxPixels));
  }
  crf.image = read_crf_image(call, crf.height, crf.width);
  crf.iterations = call.attr_int(0);
  if (crf.iterations < 0) {
    call.reject("iterations must not be negative, got %lld", static_cast<long long>(crf.iterations));
  }
  for (int t = 0; t < kCrfMaxTerms; ++t) {
    const int first = 1 + t * kCrfTermAttrs;
    if (call.attr_int(first) == 0) continue;
    auto &term = crf.term[crf.count++];
    term.spec = read_crf_spec(call, first);
    if (term.spec.dims == 5 && crf.image == nullptr) call.reject("a bilateral term needs an image");
    term.compat = read_crf_compat(call, 2 + t, call.attr(first + 6), crf.classes);
  }
  return crf;
}

}  // namespace wm
