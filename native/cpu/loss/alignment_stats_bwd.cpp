// alignment_stats_bwd(embeddings, text, dregions [B, D], dcosines [B, Q], dpixels [B, Q]; the attributes of alignment_stats,
// detach) -> dembeddings [B, N, D]. Similarities are computed again, image by image. With g = dr (the own region's and the
// cosine's gradients together), w = P on the region and dP_k = <g, e_k> there:
//   de_k = w_k g + dS_k t,   dS = P (dP - <P, dP>) / temperature + dpixel at its pixel;   with detach, dS of P is 0.
// The terms in t are one product over texts; those in g are gathered pixel by pixel, so that each pixel has one writer.
#include <vector>

#include "native/cpu/loss/alignment_stats.h"

namespace wm {

namespace {

template <class T>
class AlignmentGradient {
 public:
  AlignmentGradient(OpCall &call, const AlignmentProblem &p)
      : call_(call), p_(p), tile_(p.tile_texts()), image_(call, p),
        slots_((tile_ - 1) * p.negatives + std::max(p.positives, p.negatives)),
        similarity_(call.workspace<T>(tile_ * p.pixels)), region_grads_(call.workspace<T>(tile_ * p.width)),
        weights_(call.workspace<T>(slots_)), sorted_weights_(call.workspace<T>(slots_)),
        pixels_(call.workspace<int32_t>(slots_)), sorted_texts_(call.workspace<int32_t>(slots_)),
        starts_(call.workspace<int32_t>(p.pixels + 1)), fill_(call.workspace<int32_t>(p.pixels)),
        shrink_(call.workspace<T>(p.pixels)),
        text_packed_(std::is_same_v<T, double>
                         ? nullptr
                         : call.workspace_bytes(static_cast<size_t>(gemm_packed_bytes(p.width, tile_, false) + 64))) {}

  void run() {
    for (int64_t i = 0; i < p_.batch; ++i) {
      T *out = call_.out(0).as<T>() + i * p_.pixels * p_.width;
      image_.open(i);
      for (int64_t j0 = 0; j0 < p_.texts; j0 += tile_) {
        const int64_t j1 = std::min(p_.texts, j0 + tile_);
        image_.similarities(j0, j1, similarity_);
        rows(i, j0, j1);
        add_text_terms(j0, j1, out);
        sort_entries(i, j0, j1);
        add_region_terms(out);
        if (p_.cosine_pixels) add_length_terms(j0, j1, out);
      }
    }
  }

 private:
  // Where the region of text j begins in the lists: the own text's region has a size of its own.
  int64_t slot(int64_t i, int64_t j0, int64_t j) const {
    const int64_t own = p_.own_text(i);
    const bool after = own >= j0 && own < j;
    return (j - j0 - (after ? 1 : 0)) * p_.negatives + (after ? p_.positives : 0);
  }

  T upstream(int input, int64_t at) const { return call_.has(input) ? call_.in(input).as<T>()[at] : T(0); }

  // Turns each row of similarities into the coefficients of t, and stores g and the region of each text.
  void rows(int64_t i, int64_t j0, int64_t j1) {
    cosines_.assign(static_cast<size_t>(p_.cosine_pixels ? j1 - j0 : 0), T(0));
    places_.assign(cosines_.size(), 0);
    call_.parallel(j1 - j0, alignment_grain(p_), [&](int64_t begin, int64_t end) {
      AlignmentRow<T> row(p_);
      for (int64_t j = j0 + begin; j < j0 + end; ++j) one_row(i, j0, j, row);
    });
  }

  void one_row(int64_t i, int64_t j0, int64_t j, AlignmentRow<T> &row) {
    const VectorOps<T> &ops = vector_ops<T>();
    const int64_t d = p_.width, n = p_.pixels, at = i * p_.texts + j;
    T *coefficients = similarity_ + (j - j0) * n, *g = region_grads_ + (j - j0) * d;
    row.analyse(image_, j, coefficients);
    const T up = upstream(3, at);
    const T along_text = up * row.inverse_region * image_.inverse_text(j);
    const T along_region = -up * row.cosine * row.inverse_region * row.inverse_region;
    const T *own = image_.own(j) && call_.has(2) ? call_.in(2).as<T>() + i * d : nullptr;
    for (int64_t c = 0; c < d; ++c)
      g[c] = along_text * image_.text(j)[c] + along_region * row.region()[c] + (own ? own[c] : T(0));
    const int64_t first = slot(i, j0, j);
    std::copy(row.index(), row.index() + row.count, pixels_ + first);
    std::copy(row.weight(), row.weight() + row.count, weights_ + first);
    if (call_.attr_flag(6)) {
      std::fill(coefficients, coefficients + n, T(0));
    } else {
      const T inverse = static_cast<T>(1 / p_.temperature);
      Scratch<T> products(row.count);
      T mean = 0;
      for (int64_t k = 0; k < row.count; ++k) {
        products.data()[k] = row.weight()[k] * ops.dot(g, image_.rows() + row.index()[k] * d, d);
        mean += products.data()[k];
      }
      const T factor = -mean * inverse * row.inverse_total;
      ops.binary[static_cast<int>(BinaryOp::mul)](row.probability(), 1, &factor, 0, coefficients, n);
      for (int64_t k = 0; k < row.count; ++k) coefficients[row.index()[k]] += products.data()[k] * inverse;
    }
    const T pixel_up = upstream(4, at);
    if (!p_.cosine_pixels) {
      coefficients[row.pixel_index] += pixel_up;
      return;
    }
    const T inverse_pixel = image_.inverse_pixels()[row.pixel_index];
    coefficients[row.pixel_index] += pixel_up * inverse_pixel * image_.inverse_text(j);
    cosines_[static_cast<size_t>(j - j0)] = pixel_up * row.pixel * inverse_pixel * inverse_pixel;
    places_[static_cast<size_t>(j - j0)] = row.pixel_index;
  }

  // out [N, D] (+)= coefficients^T [N, texts] x text [texts, D]
  void add_text_terms(int64_t j0, int64_t j1, T *out) {
    const DType dtype = call_.in(0).dtype;
    GemmArgs args;
    args.m = p_.pixels;
    args.n = p_.width;
    args.k = j1 - j0;
    args.a.data = similarity_;
    args.a.dtype = args.b.dtype = args.out_dtype = args.residual_dtype = dtype;
    args.a.row_stride = 1;
    args.a.k_stride = p_.pixels;
    args.b.data = image_.text(j0);
    args.b.row_stride = 1;
    args.b.k_stride = p_.width;
    if (text_packed_ != nullptr) {
      // One tile of texts is the common case: it is packed once.
      if (packed_from_ != j0) gemm_pack_all(call_, args.b, p_.width, args.k, false, text_packed_);
      packed_from_ = j0;
      args.b.data = text_packed_;
      args.b.packed = true;
    }
    args.residual = j0 == 0 ? nullptr : out;
    args.out = out;
    alignment_product<T>(call_, args);
  }

  // Entries by pixel, texts ascending within a pixel.
  void sort_entries(int64_t i, int64_t j0, int64_t j1) {
    std::fill(starts_, starts_ + p_.pixels + 1, 0);
    const int64_t used = slot(i, j0, j1);
    for (int64_t k = 0; k < used; ++k) ++starts_[pixels_[k] + 1];
    for (int64_t n = 0; n < p_.pixels; ++n) starts_[n + 1] += starts_[n];
    std::copy(starts_, starts_ + p_.pixels, fill_);
    for (int64_t j = j0; j < j1; ++j) {
      for (int64_t k = slot(i, j0, j); k < slot(i, j0, j + 1); ++k) {
        const int32_t at = fill_[pixels_[k]]++;
        sorted_texts_[at] = static_cast<int32_t>(j - j0);
        sorted_weights_[at] = weights_[k];
      }
    }
  }

  void add_region_terms(T *out) {
    const VectorOps<T> &ops = vector_ops<T>();
    call_.parallel(p_.pixels, 32, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        ops.weighted_rows(region_grads_, sorted_texts_ + starts_[n], sorted_weights_ + starts_[n],
                          starts_[n + 1] - starts_[n], out + n * p_.width, p_.width);
      }
    });
  }

  // The length of a pixel's embedding in its cosine: de_k -= (sum over texts of up cos / |e_k|^2) e_k.
  void add_length_terms(int64_t j0, int64_t j1, T *out) {
    std::fill(shrink_, shrink_ + p_.pixels, T(0));
    for (int64_t j = j0; j < j1; ++j)
      shrink_[places_[static_cast<size_t>(j - j0)]] += cosines_[static_cast<size_t>(j - j0)];
    for (int64_t n = 0; n < p_.pixels; ++n) {
      if (shrink_[n] == T(0)) continue;
      for (int64_t c = 0; c < p_.width; ++c) out[n * p_.width + c] -= shrink_[n] * image_.rows()[n * p_.width + c];
    }
  }

  OpCall &call_;
  const AlignmentProblem &p_;
  int64_t tile_;
  AlignmentImage<T> image_;
  int64_t slots_;
  T *similarity_, *region_grads_, *weights_, *sorted_weights_;
  int32_t *pixels_, *sorted_texts_, *starts_, *fill_;
  T *shrink_;
  void *text_packed_;
  int64_t packed_from_ = -1;
  std::vector<T> cosines_;
  std::vector<int32_t> places_;
};

void alignment_stats_bwd(OpCall &call) {
  const AlignmentProblem p = alignment_problem(call);
  const DType dtype = call.in(0).dtype;
  const int64_t sizes[3] = {p.batch * p.width, p.batch * p.texts, p.batch * p.texts};
  for (int i = 0; i < 3; ++i) {
    if (call.has(i + 2) && (call.in(i + 2).numel() != sizes[i] || call.in(i + 2).dtype != dtype))
      call.reject("gradients must be [B, D], [B, Q] and [B, Q] in the dtype of the embeddings");
  }
  if (call.out(0).numel() != call.in(0).numel()) call.reject("the output must be like the embeddings");
  if (p.batch == 0) return;
  if (dtype == DType::f64) return AlignmentGradient<double>(call, p).run();
  AlignmentGradient<float>(call, p).run();
}

}  // namespace

WM_REGISTER_CPU_OP(alignment_stats_bwd, alignment_stats_bwd, kContiguous)

}  // namespace wm
