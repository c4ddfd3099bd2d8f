/* What a device module offers: one table of function pointers, filled by libwordmask-<name>.so and reached through its
 * only symbol, wm_backend_entry(abi). The executor of a device calls nothing else.
 *
 * Functions return a wm_status (0 = ok) and leave a text behind last_error() of the calling thread. No exception and no
 * C++ type crosses. A NULL entry means "not offered": callers compose it from simpler ones or report it. New entries go
 * at the end of the table (`size` tells how far it reaches); `abi` changes only when an existing entry changes. */
#ifndef WM_BACKEND_H
#define WM_BACKEND_H

#include "include/wordmask.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WM_BACKEND_ABI 1u

typedef struct wm_context wm_context;       /* one device: its memory pool and its kernels' state */
typedef struct wm_stream wm_stream;         /* a queue on the device */
typedef struct wm_event wm_event;           /* a point in a stream */
typedef struct wm_verdict wm_verdict;       /* whether an op refuses values that lie on the device */
typedef struct wm_backend_op wm_backend_op; /* an op that the module has a kernel for */
typedef struct wm_graph wm_graph;           /* launches that were captured */

/* A strided window on device memory, of the same layout as wm::TensorView. Strides count elements.
 * ndim = -1: an optional input that was not given. */
typedef struct wm_tensor_view {
  void *data; /* borrowed */
  int32_t dtype;
  int32_t ndim;
  int64_t shape[WM_MAX_DIMS];
  int64_t stride[WM_MAX_DIMS];
} wm_tensor_view;

typedef struct wm_device_info {
  uint32_t size;   /* set by the caller to sizeof(wm_device_info) */
  int32_t usable;  /* 0: `reason` says why */
  char name[256];
  char reason[256];
  int32_t capability_major;
  int32_t capability_minor;
  int32_t multiprocessors;
  int32_t driver_version; /* as CUDA writes it: 1000 * major + 10 * minor */
  int32_t runtime_version;
  uint64_t total_bytes;
  uint64_t free_bytes; /* 0 where asking would create a context */
} wm_device_info;

typedef struct wm_backend {
  uint32_t abi;
  uint32_t size;    /* sizeof(wm_backend) of the module: entries beyond it do not exist */
  const char *name; /* "cuda"; borrowed, as is every text here */

  /* Text of the last failure on this thread, "" if there was none. */
  const char *(*last_error)(void);

  wm_status (*device_count)(int32_t *count);
  wm_status (*device_info)(int32_t device, wm_device_info *info);

  /* Every context has its _free; a context outlives its streams, events and memory. */
  wm_status (*context_create)(int32_t device, wm_context **out);
  void (*context_free)(wm_context *context);
  /* Runs a small kernel and compares its result: the module has code for this device and the device answers. */
  wm_status (*self_test)(wm_context *context);

  wm_status (*stream_create)(wm_context *context, wm_stream **out);
  void (*stream_free)(wm_stream *stream);
  wm_status (*stream_synchronise)(wm_stream *stream);

  wm_status (*event_create)(wm_context *context, wm_event **out);
  void (*event_free)(wm_event *event);
  wm_status (*event_record)(wm_event *event, wm_stream *stream);
  /* The stream's later work waits for the event; the caller does not. */
  wm_status (*stream_wait)(wm_stream *stream, wm_event *event);
  wm_status (*event_done)(wm_event *event, int32_t *done);
  wm_status (*event_synchronise)(wm_event *event);

  /* Memory in stream order: valid for work queued after, reused once work queued before its release has run. The block
   * is 256-byte aligned and not initialised; zero bytes give NULL. */
  wm_status (*memory_alloc)(wm_stream *stream, uint64_t bytes, void **out);
  wm_status (*memory_release)(wm_stream *stream, void *data);
  /* Gives cached blocks back to the device. */
  wm_status (*memory_trim)(wm_context *context);
  wm_status (*memory_stats)(wm_context *context, wm_memory *stats);
  /* Page-locked host memory for staging. */
  wm_status (*host_alloc)(wm_context *context, uint64_t bytes, void **out);
  void (*host_free)(wm_context *context, void *data);

  /* Queued copies of plain bytes; host memory must stay until the stream has passed the copy. */
  wm_status (*copy_in)(wm_stream *stream, void *device, const void *host, uint64_t bytes);
  wm_status (*copy_out)(wm_stream *stream, void *host, const void *device, uint64_t bytes);
  wm_status (*copy_within)(wm_stream *stream, void *destination, const void *source, uint64_t bytes);

  /* Op by its card's name (borrowed), or NULL. `flags` receives wm::OpFlags. */
  const wm_backend_op *(*op_find)(const char *name, uint32_t *flags);
  /* Queues one op. Views and attributes are those an OpCall would carry; they are copied before the call returns. */
  wm_status (*op_launch)(wm_context *context, const wm_backend_op *op, wm_stream *stream, const wm_tensor_view *inputs,
                         int32_t num_inputs, const wm_tensor_view *outputs, int32_t num_outputs, const double *attrs,
                         int32_t num_attrs);

  /* peak_bytes of memory_stats counts from here on. */
  wm_status (*memory_reset_peak)(wm_context *context);

  /* For memory that somebody else allocated: WM_ERR_DEVICE unless it lies on the stream's device. The stream's later work waits
   * for what the lender's native stream (cudaStream_t; NULL: nothing) holds now. */
  wm_status (*memory_borrow)(wm_stream *stream, const void *data, uint64_t bytes, void *lender);

  /* Values on the device that an op does not take (an index out of range, say) are met by its kernels. Owned: what the last
   * op_launch or graph_launch on the stream may turn out to have refused, whether it succeeded or not; NULL where it looks
   * at no values. The caller takes it, and frees it once the stream has passed the launch. */
  wm_verdict *(*verdict_take)(wm_stream *stream);
  /* Once the stream has passed the op: WM_OK, or the status and text that the op's CPU kernel fails with. Any thread. */
  wm_status (*verdict_read)(wm_verdict *verdict);
  void (*verdict_free)(wm_verdict *verdict);

  /* Most workspace that one op_launch on the stream has taken since the last call. */
  wm_status (*workspace_peak)(wm_stream *stream, uint64_t *bytes);
  /* From here on op_launch on the stream notes its launches and runs nothing; workspace is taken from `workspace`, which stays
   * as long as the graph. Nothing but op_launch may be called on the stream, and by one thread. */
  wm_status (*capture_begin)(wm_stream *stream, void *workspace, uint64_t bytes);
  /* Ends it, whatever became of it. `out` NULL: what was noted is dropped. */
  wm_status (*capture_end)(wm_stream *stream, wm_graph **out);
  /* Queues everything noted, at the addresses of its capture. */
  wm_status (*graph_launch)(wm_graph *graph, wm_stream *stream);
  /* Launches that are queued go on. */
  void (*graph_free)(wm_graph *graph);
} wm_backend;

/* The table for the ABI asked for, or NULL. Borrowed, valid for the life of the process. */
typedef const wm_backend *(*wm_backend_entry_function)(uint32_t abi);

#ifdef __cplusplus
}
#endif

#endif
