// Memory that an op changes in place must not be read by it through another operand: the order of its reads and writes is the
// kernel's own.
#pragma once

#include <vector>

#include "native/core/executor.h"

namespace wm {

// The first `in_place` inputs are outputs too. Throws Status::usage where one of them shares bytes with another operand.
// Strided operands count from their first to their last element.
void check_overlap(const char *op, const std::vector<StorageView> &inputs, int in_place);

}  // namespace wm
