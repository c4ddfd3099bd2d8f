// The handles behind the module's table. Memory comes from a pool of the device in stream order: a released block is
// reused by its stream at once and by others after the event between them; the driver keeps that order.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "cuda/core/kept.h"
#include "cuda/core/op.h"
#include "cuda/core/status.h"
#include "cuda/core/verdict.h"

struct wm_context {
  int device;
  cudaMemPool_t pool;
  wm::cuda::DeviceLimits limits;
  wm::cuda::VerdictWords verdict_words;
  wm::cuda::KeptBlocks kept;
};

struct wm_stream {
  wm_context *context;
  cudaStream_t handle;
  std::unique_ptr<wm_verdict> verdict;  // of the last launch, until it is taken
  uint64_t workspace_peak = 0;  // bytes that one launch took
  // While launches are captured: where their workspace lies.
  bool capturing = false;
  uint8_t *workspace = nullptr;
  uint64_t workspace_bytes = 0;
  std::shared_ptr<wm_verdict> captured = nullptr;  // of all launches of the capture; null: none looks at values
};

struct wm_graph {
  wm_context *context;
  cudaGraphExec_t handle;
  std::shared_ptr<const wm_verdict> verdict;  // null: no launch looks at values
};

struct wm_event {
  wm_context *context;
  cudaEvent_t handle;
};

namespace wm::cuda {

// Makes the context's device current for the calling thread; WM_ERR_DEVICE_LOST once it was lost.
wm_status enter(const wm_context *context);

wm_status device_count(int32_t *count);
wm_status device_info(int32_t device, wm_device_info *info);

wm_status context_create(int32_t device, wm_context **out);
void context_free(wm_context *context);

wm_status stream_create(wm_context *context, wm_stream **out);
void stream_free(wm_stream *stream);
wm_status stream_synchronise(wm_stream *stream);
wm_status stream_wait(wm_stream *stream, wm_event *event);

wm_status event_create(wm_context *context, wm_event **out);
void event_free(wm_event *event);
wm_status event_record(wm_event *event, wm_stream *stream);
wm_status event_done(wm_event *event, int32_t *done);
wm_status event_synchronise(wm_event *event);

wm_status memory_alloc(wm_stream *stream, uint64_t bytes, void **out);
wm_status memory_release(wm_stream *stream, void *data);
wm_status memory_trim(wm_context *context);
wm_status memory_stats(wm_context *context, wm_memory *stats);
wm_status memory_reset_peak(wm_context *context);
wm_status memory_borrow(wm_stream *stream, const void *data, uint64_t bytes, void *lender);
wm_status host_alloc(wm_context *context, uint64_t bytes, void **out);
void host_free(wm_context *context, void *data);

wm_status copy_in(wm_stream *stream, void *device, const void *host, uint64_t bytes);
wm_status copy_out(wm_stream *stream, void *host, const void *device, uint64_t bytes);
wm_status copy_within(wm_stream *stream, void *destination, const void *source, uint64_t bytes);

wm_status workspace_peak(wm_stream *stream, uint64_t *bytes);
wm_status capture_begin(wm_stream *stream, void *workspace, uint64_t bytes);
wm_status capture_end(wm_stream *stream, wm_graph **out);
wm_status graph_launch(wm_graph *graph, wm_stream *stream);
void graph_free(wm_graph *graph);

const wm_backend_op *op_find(const char *name, uint32_t *flags);
wm_status op_launch(wm_context *context, const wm_backend_op *op, wm_stream *stream, const wm_tensor_view *inputs,
                    int32_t num_inputs, const wm_tensor_view *outputs, int32_t num_outputs, const double *attrs,
                    int32_t num_attrs);

// cuda/core/verdict.cpp
wm_verdict *verdict_take(wm_stream *stream);
wm_status verdict_read(wm_verdict *verdict);
void verdict_free(wm_verdict *verdict);

// cuda/core/self_test.cu
wm_status self_test(wm_context *context);

}  // namespace wm::cuda
