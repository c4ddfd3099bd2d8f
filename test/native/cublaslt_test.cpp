// The numbers and sizes that cuda/core/cublaslt.h declares for itself, against the real header where a toolkit has it.
#include "cuda/core/cublaslt.h"

#include <cstdio>
#include <cstdlib>

#include "test/native/check.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

using namespace wm::cuda;

WM_TEST(cublaslt_constants) {
  WM_CHECK(sizeof(lt::Algorithm) == sizeof(cublasLtMatmulAlgo_t));
  WM_CHECK(sizeof(lt::Heuristic) == sizeof(cublasLtMatmulHeuristicResult_t));
  WM_CHECK(lt::kCompute32f == CUBLAS_COMPUTE_32F);
  WM_CHECK(lt::kTransposeNone == CUBLAS_OP_N);
  WM_CHECK(lt::kTranspose == CUBLAS_OP_T);
  WM_CHECK(lt::kDescriptorTransposeA == CUBLASLT_MATMUL_DESC_TRANSA);
  WM_CHECK(lt::kDescriptorTransposeB == CUBLASLT_MATMUL_DESC_TRANSB);
  WM_CHECK(lt::kPreferenceWorkspace == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
  WM_CHECK(lt::kLayoutBatch == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT);
  WM_CHECK(lt::kLayoutStride == CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET);
}
#else
WM_TEST(cublaslt_header_is_absent) {
  std::printf("skipped: no cublasLt.h\n");
  std::exit(77);
}
#endif
