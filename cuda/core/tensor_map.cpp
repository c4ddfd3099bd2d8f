// cuTensorMapEncodeTiled is reached through the runtime: the module must load where there is no driver library.
#include "cuda/core/tensor_map.h"

#include <cuda_runtime_api.h>

#include "native/core/status.h"

namespace wm::cuda {

namespace {

using EncodeTiled = CUresult (*)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                                 const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave,
                                 CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

EncodeTiled find_encode() {
  void *function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                                             cudaEnableDefault, &found);
  return error == cudaSuccess && found == cudaDriverEntryPointSuccess ? reinterpret_cast<EncodeTiled>(function)
                                                                      : nullptr;
}

CUtensorMapDataType map_dtype(DType dtype) {
  switch (dtype) {
    case DType::f32: return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
    case DType::bf16: return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    case DType::f16: return CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    default: wm::fail(Status::internal, "tensor map: no map over %s", dtype_name(dtype));
  }
}

}  // namespace

CUtensorMap make_tensor_map(const void *data, DType dtype, const TensorMapShape &shape, bool swizzle) {
  static const EncodeTiled encode = find_encode();
  if (encode == nullptr) wm::fail(Status::device, "the driver offers no cuTensorMapEncodeTiled (CUDA 12.0)");
  cuuint64_t sizes[kMaxMapDims], strides[kMaxMapDims];
  cuuint32_t box[kMaxMapDims], steps[kMaxMapDims];
  for (int i = 0; i < shape.dims; ++i) {
    sizes[i] = static_cast<cuuint64_t>(shape.size[i]);
    box[i] = static_cast<cuuint32_t>(shape.box[i]);
    steps[i] = 1;
    if (i > 0) strides[i - 1] = static_cast<cuuint64_t>(shape.stride[i]) * dtype_size(dtype);
  }
  CUtensorMap map;
  const CUresult result =
      encode(&map, map_dtype(dtype), static_cast<cuuint32_t>(shape.dims), const_cast<void *>(data), sizes, strides, box,
             steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_NONE,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    wm::fail(Status::device, "cuTensorMapEncodeTiled failed with code %d", static_cast<int>(result));
  }
  return map;
}

}  // namespace wm::cuda
