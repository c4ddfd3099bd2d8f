// resize: images and maps in ten modes, each with the numbers of the library it is named after (kernels.md P1). u8 images
// are [H, W, C], floating maps [..., H, W]. resize_bwd is the transpose of the torch modes. The kernels are in resize_*.cu.
#include "native/core/resize_call.h"

#include "cuda/image/resize.cuh"

namespace wm::cuda {

WM_REGISTER_CUDA_OP(resize, resize_call<LaunchCall>, kContiguous)
WM_REGISTER_CUDA_OP(resize_bwd, resize_bwd_call<LaunchCall>, kContiguous)

}  // namespace wm::cuda
