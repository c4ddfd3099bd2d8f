// Operands of tiers 2 and 3: bf16 with rows (of K, or of M or N) on 16-byte lines. What already lies so is taken as it is,
// anything else is rounded and copied into the workspace, padded with zeros. Limiter: memory.
#include "cuda/math/gemm_epilogue.cuh"

namespace wm::cuda {

namespace {

constexpr int kThreads = 256, kRun = 8;

// Matrices [outer][inner] of a strided source; `lead` axes as in GemmParams.
struct PackParams {
  const void *source;
  DType dtype;
  int leads;
  int64_t lead_size[kMaxLeads], lead_stride[kMaxLeads];
  int64_t outer, inner, outer_stride, inner_stride, width;  // width: inner rounded up to runs
  bool vectors;                                             // runs of the source are consecutive and aligned
};

// source -> out [leads..., outer, width] (=). 256 threads a block, a run of eight a thread.
__global__ void gemm_pack_kernel(PackParams p, bf16 *out, int64_t runs) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= runs) return;
  const int64_t per_row = p.width / kRun;
  const int64_t first = i % per_row * kRun;
  int64_t rest = i / per_row;
  int64_t from = rest % p.outer * p.outer_stride + first * p.inner_stride;
  rest /= p.outer;
  for (int axis = p.leads - 1; axis >= 0; --axis) {
    from += rest % p.lead_size[axis] * p.lead_stride[axis];
    rest /= p.lead_size[axis];
  }
  const int64_t count = min(p.inner - first, int64_t{kRun});
  float x[kRun];
  if (p.vectors && count == kRun) {
    load_run<kRun>(p.source, p.dtype == DType::bf16, from, kRun, true, x);
  } else {
#pragma unroll
    for (int j = 0; j < kRun; ++j) {
      x[j] = j < count ? load_either(p.source, p.dtype == DType::bf16, from + j * p.inner_stride) : 0.0f;
    }
  }
  store_run<kRun>(out, true, i * kRun, kRun, true, x);
}

bool on_lines(const GemmOperand &x, int leads, int64_t row_stride) {
  bool fits = reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && row_stride % 8 == 0 && row_stride > 0;
  for (int i = 0; i < leads; ++i) fits = fits && x.lead_stride[i] % 8 == 0;
  return fits;
}

}  // namespace

GemmOperand gemm_pack(LaunchCall &call, const GemmOperand &operand, const GemmParams &shape, int64_t rows,
                      bool consecutive_rows) {
  const bool along_k = !consecutive_rows && (operand.k_stride == 1 || operand.row_stride != 1);
  // A row of K that is no whole number of 16-byte runs would run into its neighbour: only M and N may.
  if (operand.dtype == DType::bf16) {
    const int64_t step = along_k ? operand.row_stride : operand.k_stride;
    const bool runs = along_k ? operand.k_stride == 1 && shape.k % 8 == 0 : operand.row_stride == 1 && step >= rows;
    if (runs && on_lines(operand, shape.leads, step)) return operand;
  }
  PackParams p;
  p.source = operand.data;
  p.dtype = operand.dtype;
  p.leads = shape.leads;
  p.outer = along_k ? rows : shape.k;
  p.inner = along_k ? shape.k : rows;
  p.outer_stride = along_k ? operand.row_stride : operand.k_stride;
  p.inner_stride = along_k ? operand.k_stride : operand.row_stride;
  p.width = (p.inner + kRun - 1) / kRun * kRun;

  GemmOperand packed;
  packed.dtype = DType::bf16;
  packed.row_stride = along_k ? p.width : 1;
  packed.k_stride = along_k ? 1 : p.width;
  int64_t size = p.outer * p.width;
  for (int i = shape.leads - 1; i >= 0; --i) {
    const bool shared = operand.lead_stride[i] == 0;
    p.lead_size[i] = shared ? 1 : shape.lead_size[i];
    p.lead_stride[i] = operand.lead_stride[i];
    packed.lead_stride[i] = shared ? 0 : size;
    size *= p.lead_size[i];
  }
  p.vectors = p.inner_stride == 1 && on_lines(operand, shape.leads, p.outer_stride);
  bf16 *out = call.workspace<bf16>(size);
  packed.data = out;
  WM_LAUNCH(gemm_pack_kernel, dim3(blocks_for(size / kRun, kThreads)), dim3(kThreads), 0, call.stream(), p, out, size / kRun);
  return packed;
}

}  // namespace wm::cuda
