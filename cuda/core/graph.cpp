// Launches captured as CUDA graphs. A capture runs on a stream of its own and by one thread, in thread-local mode: what other
// threads and streams do meanwhile is allowed and is no part of it. Its launches take their workspace from memory that stays
// as long as the graph, since an allocation would become a node with memory of the graph's own.
#include "cuda/core/context.h"

#include <new>

namespace wm::cuda {

wm_status workspace_peak(wm_stream *stream, uint64_t *bytes) {
  *bytes = stream->workspace_peak;
  stream->workspace_peak = 0;
  return WM_OK;
}

wm_status capture_begin(wm_stream *stream, void *workspace, uint64_t bytes) {
  const wm_status entered = enter(stream->context);
  if (entered != WM_OK) return entered;
  WM_TRY(cudaStreamBeginCapture(stream->handle, cudaStreamCaptureModeThreadLocal));
  stream->capturing = true;
  stream->workspace = static_cast<uint8_t *>(workspace);
  stream->workspace_bytes = bytes;
  return WM_OK;
}

wm_status capture_end(wm_stream *stream, wm_graph **out) {
  if (out != nullptr) *out = nullptr;
  stream->capturing = false;
  const std::shared_ptr<const wm_verdict> verdict = std::move(stream->captured);
  stream->captured = nullptr;
  const wm_status entered = enter(stream->context);
  if (entered != WM_OK) return entered;
  cudaGraph_t captured = nullptr;
  cudaGraphExec_t handle = nullptr;
  // Also of a capture that went wrong: the stream is of use again afterwards.
  cudaError_t error = cudaStreamEndCapture(stream->handle, &captured);
  if (out == nullptr) {
    if (captured != nullptr) cudaGraphDestroy(captured);
    cudaGetLastError();
    return WM_OK;
  }
  if (error == cudaSuccess) error = cudaGraphInstantiate(&handle, captured, 0);
  if (captured != nullptr) cudaGraphDestroy(captured);
  WM_TRY(error);
  *out = new (std::nothrow) wm_graph{stream->context, handle, verdict};
  if (*out != nullptr) return WM_OK;
  cudaGraphExecDestroy(handle);
  return fail(WM_ERR_MEMORY, "out of host memory");
}

wm_status graph_launch(wm_graph *graph, wm_stream *stream) {
  const wm_status entered = enter(stream->context);
  if (entered != WM_OK) return entered;
  if (graph->verdict == nullptr) {
    WM_TRY(cudaGraphLaunch(graph->handle, stream->handle));
    return WM_OK;
  }
  try {
    auto verdict = std::make_unique<wm_verdict>(stream->context->verdict_words);
    for (const wm_verdict::Part &part : graph->verdict->parts) verdict->add(part.op, part.with_values, part.status, part.describe);
    verdict->behind = graph->verdict;
    WM_TRY(cudaGraphLaunch(graph->handle, stream->handle));
    move_verdicts(stream->handle, *graph->verdict, *verdict);
    stream->verdict = std::move(verdict);
    return WM_OK;
  } catch (const Error &error) {
    return fail(static_cast<wm_status>(error.status()), "%s", error.what());
  } catch (const std::bad_alloc &) {
    return fail(WM_ERR_MEMORY, "out of host memory");
  }
}

void graph_free(wm_graph *graph) {
  if (graph == nullptr) return;
  if (cudaSetDevice(graph->context->device) == cudaSuccess) cudaGraphExecDestroy(graph->handle);
  delete graph;
}

}  // namespace wm::cuda
