// y = the inputs one behind the other along an axis; any dtype. Attribute: axis.
#include "native/core/shape_checks.h"
#include "native/cpu/shape/move.h"

namespace wm {

namespace {

void concat(OpCall &call) {
  const ConcatPlan plan = read_concat(call);
  int64_t offset = 0;
  for (int i = 0; i < call.num_inputs() && call.has(i); ++i) {
    const int64_t row = plan.row_bytes(call.in(i));
    copy_rows(call, call.in(i).data, row, call.out(0).as<uint8_t>() + offset, plan.pitch, plan.outer, row);
    offset += row;
  }
}

}  // namespace

WM_REGISTER_CPU_OP(concat, concat, kContiguous)

}  // namespace wm
