/* wordmask: the public C ABI.
 *
 * One struct of function pointers, reached through wm_get_api(). Handles are opaque; every handle has its _free or
 * _release; every pointer says whether it is borrowed or owned. Functions return a wm_status (0 = ok) and leave a text
 * behind last_error() of the calling thread. No exception and no C++ type crosses. New functions are added at the end
 * of the table; `abi` changes only when an existing entry changes. */
#ifndef WORDMASK_H
#define WORDMASK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WM_ABI 1u
#define WM_MAX_DIMS 8

typedef enum wm_dtype {
  WM_DTYPE_F32 = 0,
  WM_DTYPE_BF16 = 1,
  WM_DTYPE_F16 = 2,
  WM_DTYPE_F64 = 3,
  WM_DTYPE_I32 = 4,
  WM_DTYPE_U8 = 5,
  WM_DTYPE_BOOL = 6
} wm_dtype;

typedef enum wm_status {
  WM_OK = 0,
  WM_ERR_USAGE = 1,
  WM_ERR_OPTION = 2,
  WM_ERR_MEMORY = 3,
  WM_ERR_DEVICE = 4,
  WM_ERR_DEVICE_LOST = 5,
  WM_ERR_ABORTED = 6,
  WM_ERR_NUMERIC = 7,
  WM_ERR_IO = 8,
  WM_ERR_DISPOSED = 9,
  WM_ERR_INTERNAL = 10
} wm_status;

typedef struct wm_executor wm_executor; /* one queue and its thread */
typedef struct wm_storage wm_storage;   /* reference-counted bytes on a device */
typedef struct wm_token wm_token;       /* abort flag of a call */
typedef struct wm_mapped wm_mapped;     /* read-only memory-mapped file */
typedef struct wm_host_result wm_host_result;
typedef struct wm_program wm_program;   /* ops recorded once, run as one command */

/* A strided window on a storage. Offset and strides count elements. ndim = -1: an optional input not given. */
typedef struct wm_view {
  wm_storage *storage; /* borrowed */
  int64_t offset;
  int32_t dtype;
  int32_t ndim;
  int64_t shape[WM_MAX_DIMS];
  int64_t stride[WM_MAX_DIMS];
} wm_view;

/* What an op shall produce: a contiguous tensor. */
typedef struct wm_spec {
  int32_t dtype;
  int32_t ndim;
  int64_t shape[WM_MAX_DIMS];
} wm_spec;

typedef struct wm_bytes {
  const void *data; /* borrowed */
  size_t size;
} wm_bytes;

typedef struct wm_memory {
  uint64_t live_bytes;
  uint64_t cached_bytes;
  uint64_t peak_bytes;
} wm_memory;

/* Whether a device module can be used; texts are borrowed until the next call on this thread. */
typedef struct wm_backend_report {
  int32_t usable;
  int32_t devices;
  const char *step;   /* that failed: "environment", "driver", "module", "abi" or "device"; empty if usable */
  const char *reason;
  const char *remedy;
} wm_backend_report;

/* What a device says of itself, without being opened. Texts are borrowed until the next call on this thread. */
typedef struct wm_device_report {
  int32_t usable;     /* 0: `reason` says why, `remedy` what to do */
  const char *title;  /* as the device calls itself, "NVIDIA H200" */
  const char *reason;
  const char *remedy;
  int32_t capability_major;
  int32_t capability_minor;
  int32_t multiprocessors;
  int32_t driver_version; /* 1000 * major + 10 * minor */
  int32_t runtime_version;
  uint64_t total_bytes;
  uint64_t free_bytes; /* 0 where asking would open it */
} wm_device_report;

/* --- DLPack 1.x, declared here with its own layout: any DLManagedTensorVersioned may be cast to wm_dlpack ------------- */

#define WM_DLPACK_MAJOR 1u
#define WM_DLPACK_MINOR 0u
#define WM_DLPACK_READ_ONLY 1u /* bit of `flags` */
#define WM_DLPACK_COPIED 2u

typedef enum wm_dlpack_device_type {
  WM_DLPACK_CPU = 1,
  WM_DLPACK_CUDA = 2,
  WM_DLPACK_CUDA_HOST = 3, /* page-locked host memory: taken as the CPU's */
  WM_DLPACK_EXTENSION = 12
} wm_dlpack_device_type;

typedef enum wm_dlpack_code {
  WM_DLPACK_INT = 0,
  WM_DLPACK_UINT = 1,
  WM_DLPACK_FLOAT = 2,
  WM_DLPACK_BFLOAT = 4,
  WM_DLPACK_BOOL = 6
} wm_dlpack_code;

typedef struct wm_dlpack_tensor {
  void *data; /* device memory for WM_DLPACK_CUDA */
  struct {
    int32_t type; /* wm_dlpack_device_type */
    int32_t id;
  } device;
  int32_t ndim;
  struct {
    uint8_t code; /* wm_dlpack_code */
    uint8_t bits;
    uint16_t lanes;
  } dtype;
  int64_t *shape;
  int64_t *strides; /* in elements; NULL: row-major without gaps */
  uint64_t byte_offset;
} wm_dlpack_tensor;

typedef struct wm_dlpack {
  struct {
    uint32_t major;
    uint32_t minor;
  } version;
  void *manager_ctx;
  void (*deleter)(struct wm_dlpack *self); /* called once by whoever owns it, on any thread; may be NULL */
  uint64_t flags;
  wm_dlpack_tensor dl_tensor;
} wm_dlpack;

/* How a DLPack tensor travels through JS: an External with the tag below, whose data is such a box. Whoever takes the
 * tensor puts NULL in its place and owns it from then on; the External's finalizer calls the deleter of one that nobody
 * took. */
typedef struct wm_dlpack_box {
  wm_dlpack *tensor;
  void *stream; /* native stream (cudaStream_t) whose work writes the values; NULL: they are there */
} wm_dlpack_box;

/* What `tensor.handle()` gives, in an External with the tag below: a view for run() and read() on the tensor's own queue.
 * Borrowed from the External; the executor lives as long as the JS environment, the storage as long as the External (or
 * longer with storage_retain). */
typedef struct wm_tensor_handle {
  wm_executor *executor;
  wm_view view;
} wm_tensor_handle;

/* --- Arrays of direct calls -------------------------------------------------------------------------------------------- */

typedef enum wm_place {
  WM_ON_DEVICE = 0, /* memory of the executor's device: of the host for "cpu" */
  WM_ON_HOST = 1    /* host memory, copied where the executor's device is another */
} wm_place;

/* A strided array in the caller's memory. Strides count elements; an output has none but row-major ones, and its memory starts
 * at a multiple of 16 bytes. ndim = -1: not given. */
typedef struct wm_array {
  void *data; /* borrowed until the call is over */
  int32_t dtype;
  int32_t place; /* wm_place */
  int32_t ndim;
  int64_t shape[WM_MAX_DIMS];
  int64_t stride[WM_MAX_DIMS];
} wm_array;

typedef enum wm_attention_source {
  WM_ATTENTION_QK = 0,
  WM_ATTENTION_KK = 1,
  WM_ATTENTION_QQ = 2,
  WM_ATTENTION_VV = 3,
  WM_ATTENTION_QQ_PLUS_KK = 4 /* the sum of two softmaxes: rows sum to 2 */
} wm_attention_source;

/* softmax(scale a b^T + gaussian + bias + mask) v, where the source says what a and b are. A row whose keys are all blocked
 * gives 0. */
typedef struct wm_attention_args {
  uint32_t size;       /* sizeof(wm_attention_args) of the caller */
  int32_t source;      /* wm_attention_source; other than q k needs Nq = Nk */
  double scale;        /* 0: 1 / sqrt(d) */
  int32_t causal;      /* query i sees keys 0..i */
  int32_t grid_height; /* of the gaussian term: exp(-distance^2 / (2 sigma^2)) between the last h w tokens; sigma 0: none */
  int32_t grid_width;
  double sigma;
  wm_array q;    /* [B, heads, Nq, d] of f32, bf16 or f16 (and f64 on the CPU) */
  wm_array k;    /* [B, heads, Nk, d], of the dtype of q as v is */
  wm_array v;    /* [B, heads, Nk, dv] */
  wm_array bias; /* of any floating dtype, [B|1, heads|1, Nq|1, Nk|1], or not given */
  wm_array mask; /* u8 [B, Nq, ceil(Nk / 8)], bits from the lowest on, 1 = blocked; or not given */
  wm_array out;  /* [B, Nq, heads, dv] of the dtype of q; written */
} wm_attention_args;

/* Labels from the score maps of sliding windows: each map is stretched to its window (torch's bilinear), overlaps are averaged,
 * the canvas is stretched to the picture, and the best class of each pixel is kept, without the volume of all queries. */
typedef struct wm_merge_args {
  uint32_t size;         /* sizeof(wm_merge_args) of the caller */
  int32_t canvas_height; /* the resized picture, over which the windows slide */
  int32_t canvas_width;
  int32_t window_height; /* size that a map is stretched to: the window with its padding */
  int32_t window_width;
  int32_t pad_top; /* where the window lies in it */
  int32_t pad_left;
  int32_t background; /* class of pixels that miss the thresholds; -1: `nothing` */
  int32_t nothing;    /* label of what has no class */
  double scale;       /* of the softmax over all queries, positive */
  double threshold;   /* least probability of the winner; 0: none */
  double margin;      /* least lead over the best other class; 0: none */
  wm_array scores;    /* f32 [N, S, h, w] */
  wm_array boxes;     /* i32 [N, 4]: y1 x1 y2 x2 on the canvas */
  wm_array classes;   /* i32 [S]: class of each query, -1 where it counts in the softmax and does not compete */
  wm_array labels;    /* i32 [H, W] of the picture; written */
  wm_array score;     /* f32 [H, W]: probability of the winner; written, or not given */
} wm_merge_args;

#define WM_CRF_MAX_TERMS 8

typedef enum wm_crf_kind { WM_CRF_GAUSSIAN = 1, WM_CRF_BILATERAL = 2 } wm_crf_kind;
typedef enum wm_crf_normalisation {
  WM_CRF_SYMMETRIC = 0,
  WM_CRF_NONE = 1,
  WM_CRF_BEFORE = 2,
  WM_CRF_AFTER = 3
} wm_crf_normalisation;

typedef struct wm_crf_term {
  int32_t kind; /* wm_crf_kind */
  int32_t normalisation;
  double sx, sy;     /* standard deviations of the position, in pixels */
  double sr, sg, sb; /* of the colour, in levels of 0..255; bilateral alone */
  double compat;     /* Potts weight */
} wm_crf_term;

/* Mean field steps of a fully connected CRF. */
typedef struct wm_crf_args {
  uint32_t size;      /* sizeof(wm_crf_args) of the caller */
  int32_t iterations; /* 0..1000 */
  int32_t num_terms;  /* 0..WM_CRF_MAX_TERMS */
  wm_crf_term terms[WM_CRF_MAX_TERMS];
  wm_array image; /* u8 [H, W, 3], RGB; needed by bilateral terms */
  wm_array unary; /* f32 [C, H, W]: negative log probabilities */
  wm_array out;   /* f32 [C, H, W]: marginals; written */
} wm_crf_args;

/* Called once, on a thread of the library; `text` is valid during the call only. Must not throw or block. */
typedef void (*wm_done)(void *user, wm_status status, const char *text);

typedef struct wm_api {
  uint32_t abi;
  uint32_t size; /* sizeof(wm_api) of the library: entries beyond it do not exist */

  /* Borrowed text of the last failure on this thread. */
  const char *(*last_error)(void);
  /* Borrowed name of the instruction tier: "scalar", "avx2", "avx512", "avx512bf16". */
  const char *(*cpu_tier)(void);

  /* An executor owns a thread that runs its commands in call order. `device` is "cpu" or that of a module beside this
   * library, "cuda:0". Free skips what is still queued, calls every pending completion with WM_ERR_ABORTED and joins the
   * thread. */
  wm_status (*executor_create)(const char *device, wm_executor **out);
  void (*executor_free)(wm_executor *executor);

  /* Queues one op and returns. Output storages (owned by the caller) get their memory when the op runs. For an op that
   * works in place, out[0] is another reference to inputs[0].storage. `token` may be NULL. */
  wm_status (*run)(wm_executor *executor, const char *op, const wm_view *inputs, int32_t num_inputs, const double *attrs,
                   int32_t num_attrs, const wm_spec *outputs, int32_t num_outputs, wm_token *token, wm_storage **out);

  /* Copies at the call. */
  wm_status (*storage_from_host)(wm_executor *executor, const void *data, size_t bytes, wm_storage **out);
  /* Lends memory that nobody changes until `released` is called (on any thread). */
  wm_status (*storage_from_external)(wm_executor *executor, void *data, size_t bytes, wm_done released, void *user,
                                     wm_storage **out);
  /* A read-only part of a mapped file; keeps the mapping alive. Where the offset is no multiple of `alignment` (the bytes of
   * an element) the part is copied. */
  wm_status (*storage_from_mapped)(wm_executor *executor, wm_mapped *mapped, uint64_t offset, size_t bytes, uint32_t alignment,
                                   wm_storage **out);
  void (*storage_retain)(wm_storage *storage);
  /* Drops a reference in queue order: commands queued before still see the bytes. */
  void (*storage_release)(wm_storage *storage);
  size_t (*storage_bytes)(const wm_storage *storage);

  /* Queues a copy of a view, made contiguous, into `destination` (`bytes` must be its exact size), then calls `done`. */
  wm_status (*read)(wm_executor *executor, const wm_view *view, void *destination, size_t bytes, wm_done done, void *user);
  /* Calls `done` when everything queued before has run. */
  wm_status (*fence)(wm_executor *executor, wm_done done, void *user);
  /* Waits for the queue on the calling thread. */
  wm_status (*synchronise)(wm_executor *executor);

  wm_token *(*token_create)(void);
  void (*token_cancel)(wm_token *token);
  void (*token_free)(wm_token *token);

  wm_status (*mapped_open)(const char *path, wm_mapped **out);
  uint64_t (*mapped_size)(const wm_mapped *mapped);
  void (*mapped_free)(wm_mapped *mapped);

  void (*memory)(wm_memory *out);
  void (*memory_trim)(void);
  void (*memory_reset_peak)(void);
  int32_t (*threads)(void);
  void (*set_threads)(int32_t threads);

  int32_t (*op_count)(void);
  const char *(*op_name)(int32_t index); /* borrowed, NULL past the end */

  /* Runs a host algorithm on the calling thread. The result owns its byte arrays. */
  wm_status (*host_call)(const char *name, const wm_bytes *inputs, int32_t num_inputs, const double *attrs, int32_t num_attrs,
                         wm_token *token, wm_host_result **out);
  int32_t (*host_result_count)(const wm_host_result *result);
  wm_bytes (*host_result_bytes)(const wm_host_result *result, int32_t index); /* borrowed */
  void (*host_result_free)(wm_host_result *result);

  /* Opens the module of a device kind ("cuda") in a folder, the first time, and says what came of it. */
  wm_status (*backend_report)(const char *name, const char *directory, wm_backend_report *out);

  /* Queues a copy of a view, made contiguous, on another device. The work queued on `from` before is part of it, and what
   * is queued on `to` afterwards waits for it. */
  wm_status (*transfer)(wm_executor *from, const wm_view *view, wm_executor *to, wm_storage **out);
  wm_status (*device_report)(const char *device, wm_device_report *out);
  /* Opens a device and runs its self-test, the first time. */
  wm_status (*device_open)(const char *device);
  /* Of a device that was opened; zeros before. `peak_bytes` counts from the last reset. */
  wm_status (*device_memory)(const char *device, wm_memory *out);
  /* Gives cached blocks back to the device. */
  wm_status (*device_trim)(const char *device);
  wm_status (*device_reset_peak)(const char *device);
  /* Whether an opened device has a kernel for an op. */
  int32_t (*device_has_op)(const char *device, const char *op);

  /* Lends memory of the executor's own device without a copy: a pointer of that device, host memory on the CPU. Ops read it
   * and never write to it, and nobody else changes it before `released` is called (on any thread, once the last kernel that
   * reads it has run). `stream` (cudaStream_t) is where the lender's kernels write the bytes: what is queued from now on waits
   * for what that stream holds; NULL where the bytes are there already. Memory of another device is refused with
   * WM_ERR_DEVICE. After a failure the lender still owns it and `released` is not called. */
  wm_status (*storage_borrow)(wm_executor *executor, void *data, size_t bytes, void *stream, wm_done released, void *user,
                              wm_storage **out);

  /* Makes a view of a DLPack tensor on the executor's device, without a copy: `out->storage` is owned by the caller
   * (storage_release). The library owns `tensor` from then on and calls its deleter when the last kernel that reads it has
   * run; after a failure the caller still owns it. Taken are the seven dtypes of wm_dtype, up to WM_MAX_DIMS dimensions, any
   * strides, memory aligned to the element. `stream` as in storage_borrow. */
  wm_status (*dlpack_import)(wm_executor *executor, wm_dlpack *tensor, void *stream, wm_view *out);
  /* Queues making a DLPack tensor of a view, without a copy. `*out` is set at once and may be looked at, and deleted, once
   * `done` was called: with WM_OK its values are there for every stream and thread. The caller owns it and calls its deleter,
   * after a failure too, when its own work on it is over. It is read-only: other tensors may share the memory. */
  wm_status (*dlpack_export)(wm_executor *executor, const wm_view *view, wm_dlpack **out, wm_done done, void *user);

  /* Records a Program: between program_begin and program_end, ops given to program_op are queued as by run, and noted. What
   * they read besides `inputs` (contiguous, each on a storage of its own) and each other's outputs is a constant, which the
   * Program holds. Ops that work in place are refused. */
  wm_status (*program_begin)(wm_executor *executor, const char *name, const wm_view *inputs, int32_t num_inputs, wm_program **out);
  wm_status (*program_op)(wm_program *program, const char *op, const wm_view *inputs, int32_t num_inputs, const double *attrs,
                          int32_t num_attrs, const wm_spec *outputs, int32_t num_outputs, wm_token *token, wm_storage **out);
  /* `outputs`: views of what its ops made. */
  wm_status (*program_end)(wm_program *program, const wm_view *outputs, int32_t num_outputs);
  /* Queues the ops as one command, with the bytes that they would give one by one: inputs of the recorded shapes and dtypes,
   * contiguous. out[i] (owned by the caller) is a storage in which the i-th output lies as it lay in the recording. A device
   * may keep a graph of the ops with the Program, from the first run on. */
  wm_status (*program_run)(wm_program *program, const wm_view *inputs, int32_t num_inputs, wm_token *token, wm_storage **out);
  /* Bytes that lie between inputs and outputs. */
  uint64_t (*program_bytes)(const wm_program *program);
  /* Runs that are queued go on; also ends a recording. */
  void (*program_free)(wm_program *program);

  /* Direct calls: one op of the three hot paths on the caller's own memory, in call order with everything queued on the
   * executor. Outputs in memory of the device are written where they lie. `stream` (cudaStream_t) is where the caller's kernels
   * write the inputs that lie on the device; NULL: they are there. Host inputs are copied at the call where the device is not
   * the CPU. Every array stays as it is until `done` is called; without a `done` the call waits, and returns what came of it.
   * Output memory may not overlap an input's. WM_ERR_OPTION for shapes that do not fit, WM_ERR_DEVICE for memory of another
   * device. */
  wm_status (*attention)(wm_executor *executor, const wm_attention_args *args, void *stream, wm_token *token, wm_done done,
                         void *user);
  wm_status (*window_merge)(wm_executor *executor, const wm_merge_args *args, void *stream, wm_token *token, wm_done done,
                            void *user);
  wm_status (*dense_crf)(wm_executor *executor, const wm_crf_args *args, void *stream, wm_token *token, wm_done done, void *user);
} wm_api;

/* Type tag of the External through which `capi()` of `wordmask/native` hands the table to other add-ons. */
#define WM_API_TAG_LOWER 0x776f72646d61736bull
#define WM_API_TAG_UPPER 0x2d6361706900000full

/* Of the External that holds a wm_dlpack_box, and of one that holds a wm_tensor_handle. */
#define WM_DLPACK_TAG_LOWER 0x776f72646d61736bull
#define WM_DLPACK_TAG_UPPER 0x2d646c7061636b31ull
#define WM_HANDLE_TAG_LOWER 0x776f72646d61736bull
#define WM_HANDLE_TAG_UPPER 0x2d68616e646c6531ull

/* The table for the ABI asked for, or NULL. Borrowed, valid for the life of the process. */
const wm_api *wm_get_api(uint32_t abi);

#ifdef __cplusplus
}
#endif

#endif
