// The functions behind wordmask.h that run one of the hot paths on the caller's own arrays.
#pragma once

#include "include/wordmask.h"

namespace wm {

wm_status attention(wm_executor *executor, const wm_attention_args *args, void *stream, wm_token *token, wm_done done, void *user);
wm_status window_merge(wm_executor *executor, const wm_merge_args *args, void *stream, wm_token *token, wm_done done, void *user);
wm_status dense_crf(wm_executor *executor, const wm_crf_args *args, void *stream, wm_token *token, wm_done done, void *user);

}  // namespace wm
