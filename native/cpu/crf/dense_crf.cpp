// Mean field inference of a fully connected CRF with Gaussian filter terms (Krahenbuhl & Koltun 2011; dense-crf.md):
//   Q <- softmax(-U + sum over terms of compat(filter(Q))), `iterations` times from Q = softmax(-U).
//
// Rows hold the classes of a pixel or vertex, padded. One pass over the pixel chunks does slice, softmax and splat, so
// Q never goes to memory; between passes every term sums its partial rows and blurs. The compatibility is linear and
// acts on classes alone, so it is applied to the few blurred rows before slicing: as a factor in the last blur step
// where it is diagonal, else as a small product per vertex.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "native/core/crf_spec.h"
#include "native/core/op.h"
#include "native/core/refused_values.h"
#include "native/cpu/crf/crf_lattice.h"
#include "native/cpu/crf/crf_rows.h"

namespace wm {

namespace {

constexpr int64_t kVertexGrain = 1024;

struct Term {
  std::shared_ptr<const Lattice> lattice;
  std::vector<float> factor;  // [width] -alpha times the diagonal of the compatibility
  std::vector<float> matrix;  // [C, C] -alpha (M + M^T)/2; empty for a diagonal one
  ArenaArray<float> parts;    // [partial rows, width]
  ArenaArray<float> rows, other;  // [vertices + 1, width]; the last row is zero
};

// The compatibility with the gain of the blur in it.
void set_compat(const CrfCompat &compat, int64_t classes, int64_t width, Term *term) {
  const float alpha = term->lattice->alpha();
  const float *values = compat.values;
  term->factor.assign(static_cast<size_t>(width), 0.0f);
  if (!compat.matrix) {
    for (int64_t c = 0; c < classes; ++c) {
      const float factor = values == nullptr ? alpha * static_cast<float>(compat.potts) : -alpha * values[c];
      term->factor[static_cast<size_t>(c)] = factor;
    }
    return;
  }
  term->matrix.resize(static_cast<size_t>(classes * classes));
  for (int64_t i = 0; i < classes; ++i) {
    for (int64_t j = 0; j < classes; ++j) {
      const float symmetric = 0.5f * (values[i * classes + j] + values[j * classes + i]);
      term->matrix[static_cast<size_t>(i * classes + j)] = -alpha * symmetric;
    }
  }
}

class MeanField {
 public:
  MeanField(OpCall &call, const PixelOrder &order, int64_t classes, std::vector<Term> terms)
      : call_(call), order_(order), kernels_(crf_row_kernels()), classes_(classes), width_(crf_row_width(classes)),
        terms_(std::move(terms)) {
    for (Term &term : terms_) {
      const int64_t rows = (term.lattice->vertices + 1) * width_;
      term.parts = ArenaArray<float>(term.lattice->partial_rows() * width_);
      term.rows = ArenaArray<float>(rows);
      term.other = ArenaArray<float>(rows);
      for (float *buffer : {term.rows.data(), term.other.data()}) {
        std::memset(buffer + rows - width_, 0, static_cast<size_t>(width_) * sizeof(float));
      }
    }
  }

  void run(const float *unary, int64_t iterations, float *out) {
    scores_ = call_.workspace<float>(order_.size() * width_);
    read_unary(unary);
    pixel_pass(false, iterations == 0 ? out : nullptr);
    for (int64_t i = 1; i <= iterations; ++i) {
      for (Term &term : terms_) filter(&term);
      pixel_pass(true, i == iterations ? out : nullptr);
    }
  }

 private:
  // scores_[i] = -U of the i-th pixel visited, padded with -infinity.
  void read_unary(const float *unary) {
    std::atomic<bool> all_valid{true};
    call_.parallel(order_.chunks(), 1, [&](int64_t chunk, int64_t) {
      int64_t index[kCrfBlock];
      const int64_t last = order_.chunk_end(chunk);
      for (int64_t i = order_.chunk_begin(chunk); i < last; i += kCrfBlock) {
        const int64_t pixels = std::min(kCrfBlock, last - i);
        list_pixels(i, pixels, index);
        const Ahead ahead = look_ahead(i, last);
        float *block = scores_ + i * width_;
        bool valid = true;
        for (int64_t c = 0; c < classes_; ++c) {
          const float *plane = unary + c * order_.size();
          for (int64_t r = 0; r < ahead.count; ++r) __builtin_prefetch(plane + ahead.pixel[r], 0);
          for (int64_t k = 0; k < pixels; ++k) {
            const float u = plane[index[k]];
            valid &= u == u;
            block[k * width_ + c] = std::max(-kCrfUnaryLimit, std::min(kCrfUnaryLimit, -u));
          }
        }
        if (!valid) all_valid.store(false, std::memory_order_relaxed);
        for (int64_t c = classes_; c < width_; ++c) {
          for (int64_t k = 0; k < pixels; ++k) block[k * width_ + c] = -std::numeric_limits<float>::infinity();
        }
      }
    });
    if (!all_valid) report_nan(unary);
  }

  // One pixel of every row of the block after the next. Reading or writing all class planes at a few rows each is more
  // streams than the hardware follows; a line of a plane serves two blocks side by side.
  struct Ahead {
    int64_t count = 0;
    int64_t pixel[kCrfBlock / 8];
  };
  Ahead look_ahead(int64_t i, int64_t last) const {
    Ahead ahead;
    for (int64_t k = i + 2 * kCrfBlock; k < std::min(i + 3 * kCrfBlock, last); k += 8) {
      ahead.pixel[ahead.count++] = order_.pixel(k);
    }
    return ahead;
  }

  void list_pixels(int64_t i, int64_t pixels, int64_t *index) const {
    for (int64_t k = 0; k < pixels; ++k) index[k] = order_.pixel(i + k);
  }

  // The first in memory, whichever chunk met one.
  [[noreturn]] void report_nan(const float *unary) const {
    int64_t position = 0;
    while (position < classes_ * order_.size() && unary[position] == unary[position]) ++position;
    if (position == classes_ * order_.size()) {
      fail(Status::internal, "%s: a NaN of unary vanished while it was read", call_.name());
    }
    fail(Status::numeric, "%s: %s", call_.name(), refused_nan(position, order_.height(), order_.width()).c_str());
  }

  // Slice (unless this is the first pass), softmax, and then either splat or the result.
  void pixel_pass(bool slice, float *out) {
    call_.parallel(order_.chunks(), 1, [&](int64_t begin, int64_t end) {
      ArenaArray<float> block(kCrfBlock * width_);
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        if (out == nullptr) clear_parts(chunk);
        const int64_t last = order_.chunk_end(chunk);
        for (int64_t i = order_.chunk_begin(chunk); i < last; i += kCrfBlock) {
          const int64_t pixels = std::min(kCrfBlock, last - i);
          score_block(chunk, i, pixels, slice, block.data());
          kernels_.softmax(block.data(), pixels, width_);
          if (out == nullptr) splat_block(chunk, i, pixels, block.data());
          else write_block(i, pixels, look_ahead(i, last), block.data(), out);
        }
      }
    });
  }

  void clear_parts(int64_t chunk) {
    for (Term &term : terms_) {
      const int64_t first = term.lattice->local_start[chunk], rows = term.lattice->local_start[chunk + 1] - first;
      std::memset(term.parts.data() + first * width_, 0, static_cast<size_t>(rows * width_) * sizeof(float));
    }
  }

  void score_block(int64_t chunk, int64_t i, int64_t pixels, bool slice, float *block) const {
    CrfSlice slices[kCrfMaxTerms];
    int count = 0;
    for (const Term &term : terms_) {
      if (!slice) break;
      const Lattice &lattice = *term.lattice;
      slices[count++] = {lattice.local.data() + i * lattice.corners, lattice.slice_weight() + i * lattice.corners,
                         lattice.vertex_of.data() + lattice.local_start[chunk], term.rows.data(), lattice.corners};
    }
    kernels_.slice(slices, count, pixels, scores_ + i * width_, block, width_);
  }

  void splat_block(int64_t chunk, int64_t i, int64_t pixels, const float *block) {
    for (Term &term : terms_) {
      const Lattice &lattice = *term.lattice;
      float *parts = term.parts.data() + static_cast<int64_t>(lattice.local_start[chunk]) * width_;
      kernels_.splat(lattice.local.data() + i * lattice.corners, lattice.splat_weight() + i * lattice.corners,
                     lattice.corners, pixels, block, parts, width_);
    }
  }

  void write_block(int64_t i, int64_t pixels, const Ahead &ahead, const float *block, float *out) const {
    int64_t index[kCrfBlock];
    list_pixels(i, pixels, index);
    for (int64_t c = 0; c < classes_; ++c) {
      float *plane = out + c * order_.size();
      for (int64_t r = 0; r < ahead.count; ++r) __builtin_prefetch(plane + ahead.pixel[r], 1);
      for (int64_t k = 0; k < pixels; ++k) plane[index[k]] = block[k * width_ + c];
    }
  }

  // term->rows = compat(blur(sum of partial rows)), still to be sliced.
  void filter(Term *term) {
    const Lattice &lattice = *term->lattice;
    call_.parallel(lattice.vertices, kVertexGrain, [&](int64_t begin, int64_t end) {
      kernels_.reduce(lattice.part_start.data(), lattice.part.data(), term->parts.data(), term->rows.data(), begin, end,
                      width_);
    });
    for (int axis = 0; axis < lattice.corners; ++axis) {
      const bool last = axis == lattice.corners - 1;
      const float *factor = last && term->matrix.empty() ? term->factor.data() : nullptr;
      const uint32_t *neighbour = lattice.neighbour.data() + axis * lattice.vertices * 2;
      call_.parallel(lattice.vertices, kVertexGrain, [&](int64_t begin, int64_t end) {
        kernels_.blur(neighbour, term->rows.data(), term->other.data(), factor, begin, end, width_);
        if (last && !term->matrix.empty()) mix_classes(term->matrix, begin, end, term->other.data());
      });
      std::swap(term->rows, term->other);
    }
  }

  // rows[v] = matrix * rows[v] for v in [begin, end).
  void mix_classes(const std::vector<float> &matrix, int64_t begin, int64_t end, float *rows) const {
    ArenaArray<float> copy(classes_);
    for (int64_t v = begin; v < end; ++v) {
      float *row = rows + v * width_;
      std::memcpy(copy.data(), row, static_cast<size_t>(classes_) * sizeof(float));
      for (int64_t i = 0; i < classes_; ++i) {
        float sum = 0.0f;
        for (int64_t j = 0; j < classes_; ++j) sum += matrix[static_cast<size_t>(i * classes_ + j)] * copy[j];
        row[i] = sum;
      }
    }
  }

  OpCall &call_;
  const PixelOrder &order_;
  const CrfRowKernels &kernels_;
  int64_t classes_, width_;
  std::vector<Term> terms_;
  float *scores_ = nullptr;
};

void dense_crf(OpCall &call) {
  const CrfCall crf = read_crf_call(call);
  if (crf.empty()) return;
  const int64_t width = crf_row_width(crf.classes);
  const PixelOrder order(crf.width, crf.height, width);
  std::vector<Term> terms(static_cast<size_t>(crf.count));
  for (int t = 0; t < crf.count; ++t) {
    Term &term = terms[static_cast<size_t>(t)];
    term.lattice = make_lattice(call, order, crf.image, crf.term[t].spec);
    set_compat(crf.term[t].compat, crf.classes, width, &term);
  }
  MeanField(call, order, crf.classes, std::move(terms))
      .run(call.in(1).as<float>(), crf.iterations, call.out(0).as<float>());
}

}  // namespace

WM_REGISTER_CPU_OP(dense_crf, dense_crf, kContiguous)

}  // namespace wm
