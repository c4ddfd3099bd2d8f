// alignment_stats(embeddings [B, N, D], text [Q, D]; positives, negatives, rank, first, temperature, cosinePixels) -> three
// statistics of S_ij = <e_i^k, t_j> that the losses of MGCA need (mgca.md section 3): regions [B, D], cosines [B, Q] and
// pixels [B, Q]. With P = softmax over pixels of S / temperature and M its largest entries, r_ij = sum of P M e_i^k:
//   regions[i] = r_ij for the image's own text, cosines[i, j] = cos(r_ij, t_j), pixels[i, j] = the rank-th largest S for the
//   own text, the largest for others (or of the cosines).
// One image at a time; its similarities live in a tile of at most 16 MiB.
#include "native/cpu/loss/alignment_stats.h"

namespace wm {

namespace {

template <class T>
void forward(OpCall &call, const AlignmentProblem &p) {
  const int64_t tile = p.tile_texts();
  AlignmentImage<T> image(call, p);
  T *similarity = call.workspace<T>(std::max<int64_t>(1, tile * p.pixels));
  T *regions = call.out(0).as<T>(), *cosines = call.out(1).as<T>(), *pixels = call.out(2).as<T>();
  for (int64_t i = 0; i < p.batch; ++i) {
    image.open(i);
    for (int64_t j0 = 0; j0 < p.texts; j0 += tile) {
      const int64_t j1 = std::min(p.texts, j0 + tile);
      image.similarities(j0, j1, similarity);
      call.parallel(j1 - j0, alignment_grain(p), [&](int64_t begin, int64_t end) {
        AlignmentRow<T> row(p);
        for (int64_t j = j0 + begin; j < j0 + end; ++j) {
          row.analyse(image, j, similarity + (j - j0) * p.pixels);
          cosines[i * p.texts + j] = row.cosine;
          pixels[i * p.texts + j] = row.pixel;
          if (image.own(j)) std::copy(row.region(), row.region() + p.width, regions + i * p.width);
        }
      });
    }
  }
}

void alignment_stats(OpCall &call) {
  const AlignmentProblem p = alignment_problem(call);
  if (call.out(0).numel() != p.batch * p.width || call.out(1).numel() != p.batch * p.texts ||
      call.out(2).numel() != p.batch * p.texts)
    call.reject("the outputs must be [B, D], [B, Q] and [B, Q]");
  if (call.in(0).dtype == DType::f64) return forward<double>(call, p);
  forward<float>(call, p);
}

}  // namespace

WM_REGISTER_CPU_OP(alignment_stats, alignment_stats, kContiguous)

}  // namespace wm
