// Attention forward, mma tier: which calls it takes, and head sizes up to 64 (attention_fwd_mma.cuh has the kernel; wider
// heads are instantiated in a file of their own).
#include "cuda/attention/attention_fwd_mma.cuh"
#include "cuda/attention/attention_mma.h"

namespace wm::cuda::attention {

namespace {

bool vector_rows(const Rows &x) {
  return x.column == 1 && reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.batch % 8 == 0 && x.head % 8 == 0 && x.row % 8 == 0;
}

bool vector_target(const Target &t) {
  return reinterpret_cast<uintptr_t>(t.data) % 16 == 0 && t.batch % 8 == 0 && t.head % 8 == 0 && t.row % 8 == 0;
}

bool head_fits(int d) { return d >= 8 && d % 8 == 0 && d <= 256; }

}  // namespace

bool fits_mma(const Params &p) {
  return head_fits(p.d) && head_fits(p.dv) && vector_rows(p.a) && vector_rows(p.b) && vector_rows(p.v) && vector_target(p.o);
}

bool fits_bwd_mma(const Params &p, const BackwardParams &g) {
  return fits_mma(p) && p.d <= 128 && p.dv <= 128 && (g.d_out.data == nullptr || vector_rows(g.d_out)) && vector_target(g.da) &&
         vector_target(g.db) && vector_target(g.dv);
}

void fwd_mma(LaunchCall &call, const Params &p) {
  const int widest = max(p.d, p.dv);
  if (widest <= 32) launch_fwd_mma<32>(call, p);
  else if (widest <= 64) launch_fwd_mma<64>(call, p);
  else fwd_mma_wide(call, p);
}

}  // namespace wm::cuda::attention
