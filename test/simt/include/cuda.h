// The part of the CUDA driver's header that cuda/core uses: a tensor map, here filled by test/simt/hopper.cpp.
#pragma once

#include "cuda_runtime_api.h"

struct CUtensorMap {
  unsigned long long opaque[16];
};
