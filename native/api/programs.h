// The functions behind wordmask.h that concern Programs.
#pragma once

#include "include/wordmask.h"

namespace wm {

wm_status program_begin(wm_executor *executor, const char *name, const wm_view *inputs, int32_t num_inputs, wm_program **out);
wm_status program_op(wm_program *program, const char *op, const wm_view *inputs, int32_t num_inputs, const double *attrs,
                     int32_t num_attrs, const wm_spec *outputs, int32_t num_outputs, wm_token *token, wm_storage **out);
wm_status program_end(wm_program *program, const wm_view *outputs, int32_t num_outputs);
wm_status program_run(wm_program *program, const wm_view *inputs, int32_t num_inputs, wm_token *token, wm_storage **out);
uint64_t program_bytes(const wm_program *program);
void program_free(wm_program *program);

}  // namespace wm
