// resize: images and maps in ten modes, each with the numbers of the library it is named after (kernels.md
// P1). u8 images are [H, W, C], floating maps [..., H, W]. resize_bwd is the transpose of the torch modes.
#include "native/cpu/image/resize.h"

#include "native/core/resize_call.h"

namespace wm {

WM_REGISTER_CPU_OP(resize, resize_call<OpCall>, kContiguous)
WM_REGISTER_CPU_OP(resize_bwd, resize_bwd_call<OpCall>, kContiguous)

}  // namespace wm
