// NVIDIA's library of matrix products, where a machine has one: opened at run time, never linked. Its heuristics look at M, so
// a row's bits may follow what shares its batch; it is used only where WORDMASK_CUBLASLT=1 asks for it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace wm::cuda {

// The part of cublasLt.h that is used, under names of our own (test/native/cublaslt_test.cpp compares the numbers).
namespace lt {

using Status = int;  // 0: success
struct Handle;
struct Descriptor;
struct Layout;
struct Preference;

struct Algorithm {
  uint64_t data[8];
};
struct Heuristic {
  Algorithm algorithm;
  size_t workspace;
  Status state;
  float waves;
  int reserved[4];
};

constexpr int kCompute32f = 68;                      // CUBLAS_COMPUTE_32F
constexpr int kTransposeNone = 0, kTranspose = 1;    // CUBLAS_OP_N, _T
constexpr int kDescriptorTransposeA = 3, kDescriptorTransposeB = 4;  // CUBLASLT_MATMUL_DESC_TRANSA, _TRANSB
constexpr int kPreferenceWorkspace = 1;              // CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES
constexpr int kLayoutBatch = 5, kLayoutStride = 6;   // CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, _STRIDED_BATCH_OFFSET

}  // namespace lt

// out [batch, m, n] (=) = scale a b^T with bf16 operands and f32 sums. A line of an operand is a row of K (along_k) or, else, a
// row of M or N.
struct LtOperand {
  const void *data;
  int64_t line_stride, batch_stride;  // elements
  bool along_k;
};
struct LtProduct {
  int64_t m, n, k, batch;
  LtOperand a, b;
  void *out;
  bool out_bf16;
  float scale;
};

constexpr size_t kLtWorkspace = size_t{32} << 20;

// Whether the environment asks for the library and it could be opened.
bool cublaslt_wanted();
// Queues the product; `workspace` has kLtWorkspace bytes. False, with nothing queued, where the library declines it.
bool cublaslt_multiply(const LtProduct &product, void *workspace, cudaStream_t stream);

}  // namespace wm::cuda
