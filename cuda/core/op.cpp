#include "cuda/core/op.h"

#include <cstdlib>
#include <string>
#include <unordered_map>

#include "cuda/core/context.h"

namespace wm::cuda {

namespace {

std::unordered_map<std::string, const CudaOpEntry *> &table() {
  static std::unordered_map<std::string, const CudaOpEntry *> ops;
  return ops;
}

void check(wm_status status) {
  if (status != WM_OK) throw Error(static_cast<Status>(status), last_error());
}

// A test may hold a device to a lower tier.
int tier_limit() {
  const char *text = std::getenv("WORDMASK_CUDA_TIER");
  const int limit = text == nullptr ? 3 : std::atoi(text);
  return limit >= 1 && limit <= 3 ? limit : 3;
}

int tier_of(int capability) {
  if (capability == 90) return 3;
  return capability >= 80 ? 2 : 1;
}

}  // namespace

void throw_error(cudaError_t error, const char *what) {
  const wm_status status = fail_call(error, what, "launch", 0);
  throw Error(static_cast<Status>(status), last_error());
}

LaunchCall::~LaunchCall() {
  for (void *block : blocks_) memory_release(stream_, block);
}

cudaStream_t LaunchCall::stream() const { return stream_->handle; }

int LaunchCall::tier() const {
  const int device = tier_of(limits_.capability), limit = tier_limit();
  return device < limit ? device : limit;
}

void *LaunchCall::workspace_bytes(uint64_t bytes) {
  const uint64_t at = taken_;
  taken_ += (bytes + 255) / 256 * 256;
  if (taken_ > stream_->workspace_peak) stream_->workspace_peak = taken_;
  if (stream_->capturing) {
    if (taken_ > stream_->workspace_bytes) {
      wm::fail(Status::internal, "%s: %llu bytes of workspace in a capture that has %llu", name(),
               static_cast<unsigned long long>(taken_), static_cast<unsigned long long>(stream_->workspace_bytes));
    }
    return bytes > 0 ? stream_->workspace + at : nullptr;
  }
  blocks_.reserve(blocks_.size() + 1);
  void *data = nullptr;
  check(memory_alloc(stream_, bytes, &data));
  if (data != nullptr) blocks_.push_back(data);
  return data;
}

void *LaunchCall::find_kept(const KeptKey &key) {
  std::shared_ptr<KeptBlock> block = stream_->context->kept.find(stream_, key);
  if (block == nullptr) return nullptr;
  kept_.push_back(std::move(block));
  return kept_.back()->data();
}

void *LaunchCall::keepable_bytes(uint64_t bytes) {
  if (stream_->capturing) wm::fail(Status::internal, "%s: keeps memory for later calls, which a graph has none of", name());
  kept_.reserve(kept_.size() + 1);
  void *data = nullptr;
  check(memory_alloc(stream_, bytes, &data));
  kept_.push_back(std::make_shared<KeptBlock>(stream_, data, bytes));
  return data;
}

void LaunchCall::keep(const KeptKey &key, const void *data) {
  for (const std::shared_ptr<KeptBlock> &block : kept_) {
    if (block->data() == data) stream_->context->kept.add(key, block);
  }
}

void LaunchCall::zero(void *data, uint64_t bytes) {
  if (bytes == 0) return;
  const cudaError_t error = cudaMemsetAsync(data, 0, bytes, stream());
  if (error != cudaSuccess) throw_error(error, "cudaMemsetAsync");
}

Refusal LaunchCall::refusal(bool with_values, Status status, DescribeRefusal describe) {
  VerdictWords &words = stream_->context->verdict_words;
  if (stream_->capturing) {
    if (stream_->captured == nullptr) stream_->captured = std::make_shared<wm_verdict>(words);
    return stream_->captured->add(name(), with_values, status, std::move(describe));
  }
  if (verdict_ == nullptr) verdict_ = std::make_unique<wm_verdict>(words);
  return verdict_->add(name(), with_values, status, std::move(describe));
}

void register_cuda_op(const CudaOpEntry *entry) { table()[entry->name] = entry; }

const CudaOpEntry *find_cuda_op(const char *name) {
  const auto found = table().find(name);
  return found == table().end() ? nullptr : found->second;
}

}  // namespace wm::cuda

const wm_backend_op *wm::cuda::op_find(const char *name, uint32_t *flags) {
  const CudaOpEntry *entry = find_cuda_op(name);
  if (entry != nullptr && flags != nullptr) *flags = entry->flags;
  return reinterpret_cast<const wm_backend_op *>(entry);
}

namespace {

// The two views have one layout (backend.h); copied field by field, since neither may depend on the other's padding.
std::vector<wm::TensorView> make_views(const wm_tensor_view *views, int32_t count) {
  std::vector<wm::TensorView> result(static_cast<size_t>(count));
  for (int32_t i = 0; i < count; ++i) {
    wm::TensorView &view = result[static_cast<size_t>(i)];
    view.data = views[i].data;
    view.dtype = static_cast<wm::DType>(views[i].dtype);
    view.ndim = views[i].ndim;
    for (int d = 0; d < WM_MAX_DIMS; ++d) {
      view.shape[d] = views[i].shape[d];
      view.stride[d] = views[i].stride[d];
    }
  }
  return result;
}

}  // namespace

wm_status wm::cuda::op_launch(wm_context *context, const wm_backend_op *op, wm_stream *stream, const wm_tensor_view *inputs,
                              int32_t num_inputs, const wm_tensor_view *outputs, int32_t num_outputs, const double *attrs,
                              int32_t num_attrs) {
  const wm_status entered = enter(context);
  if (entered != WM_OK) return entered;
  const CudaOpEntry *entry = reinterpret_cast<const CudaOpEntry *>(op);
  try {
    const std::vector<TensorView> in = make_views(inputs, num_inputs), out = make_views(outputs, num_outputs);
    LaunchCall call(entry->name, stream, context->limits, in.data(), num_inputs, out.data(), num_outputs, attrs, num_attrs);
    // Kernels of a launch that failed half way may have been queued, and go on writing what they refuse.
    struct Leave {
      LaunchCall &call;
      wm_stream *stream;
      ~Leave() { stream->verdict = call.take_verdict(); }
    } const leave{call, stream};
    entry->function(call);
    return WM_OK;
  } catch (const Error &error) {
    return cuda::fail(static_cast<wm_status>(error.status()), "%s", error.what());
  } catch (const std::bad_alloc &) {
    return cuda::fail(WM_ERR_MEMORY, "%s: out of host memory", entry->name);
  } catch (const std::exception &error) {
    return cuda::fail(WM_ERR_INTERNAL, "%s: %s", entry->name, error.what());
  }
}
