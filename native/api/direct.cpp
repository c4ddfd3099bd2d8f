#include "native/api/direct.h"

#include <cmath>
#include <cstring>
#include <future>
#include <initializer_list>

#include "native/api/borrow.h"
#include "native/api/handles.h"

namespace wm {

namespace {

// Vector loads and stores of kernels.
constexpr uintptr_t kAlignment = 16;

// What the reads of a call's outputs have come to, and who is told.
struct Outcome {
  Status status = Status::ok;
  std::string text;
  Completion done;
};

// One call: its arrays as storages, its ops, its end.
class Direct {
 public:
  Direct(const char *name, wm_executor *executor, void *stream, wm_token *token)
      : name_(name), queue_(executor->queue), stream_(stream), token_(token) {}

  // An array that is read. Lent where it lies on the device, else copied now.
  StorageView input(const char *what, const wm_array &array) {
    StorageView result;
    if (array.ndim < 0) return result;
    check(what, array);
    wm_view view{};
    view.ndim = array.ndim;
    std::copy_n(array.shape, array.ndim, view.shape);
    std::copy_n(array.stride, array.ndim, view.stride);
    const std::string full = std::string(name_) + ": " + what;
    const Extent extent = extent_of(full.c_str(), view);
    const Range range = range_of(what, array, extent);
    result.view = view_of(array);
    std::copy_n(array.stride, array.ndim, result.view.stride);
    result.offset = -extent.low;
    if (!copies(array)) {
      result.storage = queue_->borrow(range.data, range.bytes, stream_, [] {});
      read_.push_back(range);
      return result;
    }
    auto host = std::make_shared<Storage>(range.bytes);
    host->allocate();
    if (range.bytes > 0) std::memcpy(host->data(), range.data, range.bytes);
    result.storage = queue_->make_storage(range.bytes);
    queue_->push_upload(std::move(host), result.storage, nullptr);
    return result;
  }

  // An array that is written: by the last op itself where it lies on the device, else by a copy behind it.
  StorageView output(const char *what, const wm_array &array) {
    check(what, array);
    StorageView result;
    result.view = view_of(array);
    const Extent extent{0, result.view.numel() - 1};
    const Range range = range_of(what, array, extent);
    for (int i = 0; i < array.ndim; ++i) {
      if (array.shape[i] > 1 && array.stride[i] != result.view.stride[i]) refuse("%s must be contiguous", what);
    }
    if (reinterpret_cast<uintptr_t>(range.data) % kAlignment != 0) refuse("%s must begin at a multiple of 16 bytes", what);
    result.storage = copies(array) ? queue_->make_storage(range.bytes) : queue_->borrow(range.data, range.bytes, nullptr, [] {});
    written_.push_back({range, result, copies(array)});
    return result;
  }

  // Memory between two ops.
  StorageView between(DType dtype, std::initializer_list<int64_t> shape) {
    wm_spec spec{};
    spec.dtype = static_cast<int32_t>(dtype);
    for (const int64_t size : shape) spec.shape[spec.ndim++] = size;
    StorageView result;
    result.view = contiguous_view(spec);
    result.storage = queue_->make_storage(result.view.bytes());
    return result;
  }

  // Noted, and queued by finish(): a call is refused as a whole.
  void op(const char *op, std::vector<StorageView> inputs, std::vector<double> attrs, std::vector<StorageView> outputs) {
    ops_.push_back({queue_->find_op(op), std::move(inputs), std::move(outputs), std::move(attrs)});
  }

  void finish(wm_done done, void *user) {
    check_overlap();
    for (PreparedOp &prepared : ops_) {
      queue_->push_op(prepared.op, std::move(prepared.inputs), std::move(prepared.attrs), std::move(prepared.outputs),
                      token_ != nullptr ? token_->token : nullptr);
    }
    if (done != nullptr) {
      read_back(to_completion(done, user));
      return;
    }
    auto over = std::make_shared<std::promise<std::shared_ptr<Failure>>>();
    read_back([over](const Failure *failure) {
      over->set_value(failure != nullptr ? std::make_shared<Failure>(*failure) : nullptr);
    });
    const std::shared_ptr<Failure> failure = over->get_future().get();
    if (failure) throw Error(failure->status, failure->text);
  }

  [[noreturn]] __attribute__((format(printf, 2, 3))) void refuse(const char *format, ...) const {
    char text[256];
    va_list list;
    va_start(list, format);
    std::vsnprintf(text, sizeof text, format, list);
    va_end(list);
    throw Error(Status::option, std::string(name_) + ": " + text);
  }

 private:
  struct Range {
    uint8_t *data;
    size_t bytes;
  };
  struct Written {
    Range range;
    StorageView view;
    bool copied;
  };

  bool copies(const wm_array &array) const { return array.place == WM_ON_HOST && queue_->device() != "cpu"; }

  void check(const char *what, const wm_array &array) const {
    if (array.ndim < 0) refuse("%s is missing", what);
    if (array.ndim > WM_MAX_DIMS || array.dtype < 0 || array.dtype >= kDTypeCount || array.place < WM_ON_DEVICE ||
        array.place > WM_ON_HOST) {
      throw Error(Status::usage, std::string(name_) + ": " + what + ": malformed array");
    }
  }

  static TensorView view_of(const wm_array &array) {
    wm_spec spec{};
    spec.dtype = array.dtype;
    spec.ndim = array.ndim;
    std::copy_n(array.shape, array.ndim, spec.shape);
    return contiguous_view(spec);
  }

  Range range_of(const char *what, const wm_array &array, const Extent &extent) const {
    const auto element = static_cast<int64_t>(dtype_size(static_cast<DType>(array.dtype)));
    if (extent.count() <= 0) return {nullptr, 0};
    if (array.data == nullptr) throw Error(Status::usage, std::string(name_) + ": " + what + ": no data");
    if (reinterpret_cast<uintptr_t>(array.data) % static_cast<uintptr_t>(element) != 0) {
      throw Error(Status::usage, std::string(name_) + ": " + what + ": the address is no multiple of an element");
    }
    return {static_cast<uint8_t *>(array.data) + extent.low * element, static_cast<size_t>(extent.count() * element)};
  }

  void check_overlap() const {
    const auto overlap = [](const Range &a, const Range &b) { return a.data < b.data + b.bytes && b.data < a.data + a.bytes; };
    for (size_t i = 0; i < written_.size(); ++i) {
      if (written_[i].copied) continue;
      bool shared = false;
      for (const Range &range : read_) shared = shared || overlap(written_[i].range, range);
      for (size_t j = 0; j < i; ++j) shared = shared || (!written_[j].copied && overlap(written_[i].range, written_[j].range));
      if (shared) throw Error(Status::usage, std::string(name_) + ": an output shares memory with another array");
    }
  }

  // Waits for every output, copying those that lie on the host of a device.
  void read_back(Completion done) {
    auto outcome = std::make_shared<Outcome>();
    outcome->done = std::move(done);
    for (size_t i = 0; i < written_.size(); ++i) {
      const bool last = i + 1 == written_.size();
      const Written &written = written_[i];
      queue_->push_read(written.view, written.copied ? written.range.data : nullptr, [outcome, last](const Failure *failure) {
        if (failure != nullptr && outcome->status == Status::ok) {
          outcome->status = failure->status;
          outcome->text = failure->text;
        }
        if (!last) return;
        const Failure first{outcome->status, outcome->text};
        outcome->done(first.status == Status::ok ? nullptr : &first);
      });
    }
  }

  const char *name_;
  const std::shared_ptr<Executor> queue_;
  void *stream_;
  wm_token *token_;
  std::vector<PreparedOp> ops_;
  std::vector<Range> read_;
  std::vector<Written> written_;
};

bool is(const StorageView &array, DType dtype, std::initializer_list<int64_t> shape) {
  return array.view.dtype == dtype && array.view.ndim == static_cast<int>(shape.size()) &&
         std::equal(shape.begin(), shape.end(), array.view.shape);
}

bool floating(const StorageView &array) {
  return array.view.dtype == DType::f32 || array.view.dtype == DType::bf16 || array.view.dtype == DType::f16 ||
         array.view.dtype == DType::f64;
}

template <class Args>
void check_size(const char *name, const Args *args) {
  if (args == nullptr || args->size != sizeof(Args)) {
    fail(Status::usage, "%s: `size` must be that of the struct: %zu", name, sizeof(Args));
  }
}

// The rules of the op's card (lib/engine/ops/attention/shapes.ts), as far as this call can break them.
void check_attention(const Direct &call, const wm_attention_args &a, const StorageView &q, const StorageView &k,
                     const StorageView &v, const StorageView &bias, const StorageView &mask, const StorageView &out) {
  if (q.view.ndim != 4 || k.view.ndim != 4 || v.view.ndim != 4 || !floating(q)) call.refuse("q, k and v must be floats of rank 4");
  const int64_t batch = q.view.shape[0], heads = q.view.shape[1], nq = q.view.shape[2], d = q.view.shape[3];
  const int64_t nk = k.view.shape[2], dv = v.view.shape[3];
  if (!is(k, q.view.dtype, {batch, heads, nk, d}) || !is(v, q.view.dtype, {batch, heads, nk, dv})) {
    call.refuse("k must be [B, heads, Nk, d] and v [B, heads, Nk, dv], of the dtype of q");
  }
  if (!is(out, q.view.dtype, {batch, nq, heads, dv})) call.refuse("out must be [B, Nq, heads, dv] of the dtype of q");
  if (a.source < WM_ATTENTION_QK || a.source > WM_ATTENTION_QQ_PLUS_KK) call.refuse("source %d", a.source);
  if (!std::isfinite(a.scale) || !(a.sigma >= 0) || !std::isfinite(a.sigma)) call.refuse("scale %g, sigma %g", a.scale, a.sigma);
  if ((a.source != WM_ATTENTION_QK || a.causal != 0 || a.sigma > 0) && nq != nk) call.refuse("needs as many queries as keys");
  if (a.source == WM_ATTENTION_VV && d != dv) call.refuse("source v v needs v of the head size of q");
  if (a.sigma > 0 && (a.grid_height < 1 || a.grid_width < 1 || int64_t{a.grid_height} * a.grid_width > nk)) {
    call.refuse("a grid of %d x %d for %lld tokens", a.grid_height, a.grid_width, static_cast<long long>(nk));
  }
  const int64_t full[4] = {batch, heads, nq, nk};
  bool fits = bias.view.ndim < 0 || (bias.view.ndim == 4 && floating(bias));
  for (int i = 0; fits && i < bias.view.ndim; ++i) fits = bias.view.shape[i] == 1 || bias.view.shape[i] == full[i];
  if (!fits) call.refuse("bias must be a float of [B|1, heads|1, Nq|1, Nk|1]");
  if (mask.view.ndim >= 0 && !is(mask, DType::u8, {batch, nq, (nk + 7) / 8})) call.refuse("mask must be u8 [B, Nq, ceil(Nk / 8)]");
}

}  // namespace

wm_status attention(wm_executor *executor, const wm_attention_args *args, void *stream, wm_token *token, wm_done done, void *user) {
  return guarded([&] {
    check_size("attention", args);
    const wm_attention_args &a = *args;
    Direct call("attention", executor, stream, token);
    const StorageView q = call.input("q", a.q), k = call.input("k", a.k), v = call.input("v", a.v);
    const StorageView bias = call.input("bias", a.bias), mask = call.input("mask", a.mask), out = call.output("out", a.out);
    check_attention(call, a, q, k, v, bias, mask, out);
    const double scale = a.scale != 0 ? a.scale : 1 / std::sqrt(static_cast<double>(std::max<int64_t>(q.view.shape[3], 1)));
    const double causal = a.causal != 0 ? 1 : 0;
    // In the order of the card's attributes; no class tokens, no second output, no gradient.
    call.op("attention", {q, k, v, bias, mask},
            {static_cast<double>(a.source), scale, causal, a.sigma, static_cast<double>(a.grid_height),
             static_cast<double>(a.grid_width), 0, 0, 0, 0, 0, 0, 1},
            {out});
    call.finish(done, user);
  });
}

wm_status window_merge(wm_executor *executor, const wm_merge_args *args, void *stream, wm_token *token, wm_done done, void *user) {
  return guarded([&] {
    check_size("window_merge", args);
    const wm_merge_args &a = *args;
    Direct call("window_merge", executor, stream, token);
    const StorageView scores = call.input("scores", a.scores), boxes = call.input("boxes", a.boxes);
    const StorageView classes = call.input("classes", a.classes), labels = call.output("labels", a.labels);
    if (scores.view.ndim != 4 || scores.view.dtype != DType::f32) call.refuse("scores must be f32 [N, S, h, w]");
    if (!is(boxes, DType::i32, {scores.view.shape[0], 4})) call.refuse("boxes must be i32 [N, 4]");
    if (!is(classes, DType::i32, {scores.view.shape[1]})) call.refuse("classes must be i32 [S]");
    if (labels.view.ndim != 2 || labels.view.dtype != DType::i32) call.refuse("labels must be i32 [H, W]");
    const int64_t height = labels.view.shape[0], width = labels.view.shape[1];
    if (a.canvas_height < 1 || a.canvas_width < 1 || a.window_height < 1 || a.window_width < 1 || a.pad_top < 0 || a.pad_left < 0) {
      call.refuse("canvas and window must be of at least 1 x 1, padding of at least 0");
    }
    if (!(a.scale > 0) || !std::isfinite(a.scale)) call.refuse("scale must be positive and finite, got %g", a.scale);
    if (!(a.threshold >= 0) || !(a.margin >= 0)) call.refuse("thresholds must be at least 0, got %g and %g", a.threshold, a.margin);
    const bool wants_score = a.score.ndim >= 0;
    std::vector<StorageView> outputs{labels};
    if (wants_score) outputs.push_back(call.output("score", a.score));
    if (wants_score && !is(outputs[1], DType::f32, {height, width})) call.refuse("score must be f32 [H, W]");
    const double second = a.margin > 0 ? 1 : 0, h = static_cast<double>(height), w = static_cast<double>(width);
    const StorageView state = call.between(DType::f32, {6, height, width});
    call.op("score_init", {}, {h, w, 0}, {state});
    call.op("window_merge", {state, scores, boxes, classes},
            {double(a.canvas_height), double(a.canvas_width), double(a.window_height), double(a.window_width), double(a.pad_top),
             double(a.pad_left), h, w, 0, h, a.scale, 1, second, 0, 0},
            {state});
    call.op("score_finish", {state},
            {a.scale, a.threshold, a.margin, double(a.background), double(a.nothing), 32, 0, wants_score ? 1.0 : 0.0, 0, 0}, outputs);
    call.finish(done, user);
  });
}

wm_status dense_crf(wm_executor *executor, const wm_crf_args *args, void *stream, wm_token *token, wm_done done, void *user) {
  return guarded([&] {
    check_size("dense_crf", args);
    const wm_crf_args &a = *args;
    Direct call("dense_crf", executor, stream, token);
    const StorageView image = call.input("image", a.image), unary = call.input("unary", a.unary), out = call.output("out", a.out);
    if (unary.view.ndim != 3 || unary.view.dtype != DType::f32) call.refuse("unary must be f32 [C, H, W]");
    const int64_t classes = unary.view.shape[0], height = unary.view.shape[1], width = unary.view.shape[2];
    if (!is(out, DType::f32, {classes, height, width})) call.refuse("out must be f32 [C, H, W]");
    if (image.view.ndim >= 0 && !is(image, DType::u8, {height, width, 3})) call.refuse("image must be u8 [H, W, 3]");
    if (a.iterations < 0 || a.iterations > 1000) call.refuse("iterations must be 0 to 1000, got %d", a.iterations);
    if (a.num_terms < 0 || a.num_terms > WM_CRF_MAX_TERMS) call.refuse("num_terms must be 0 to 8, got %d", a.num_terms);
    std::vector<double> attrs{double(a.iterations)};
    for (int32_t i = 0; i < WM_CRF_MAX_TERMS; ++i) {
      if (i >= a.num_terms) {
        attrs.insert(attrs.end(), {0, 1, 1, 1, 1, 1, 0, 0});
        continue;
      }
      const wm_crf_term &t = a.terms[i];
      const bool bilateral = t.kind == WM_CRF_BILATERAL;
      if (t.kind != WM_CRF_GAUSSIAN && !bilateral) call.refuse("term %d: kind %d", i, t.kind);
      if (bilateral && image.view.ndim < 0) call.refuse("term %d compares colours and needs an image", i);
      for (const double scale : {t.sx, t.sy, bilateral ? t.sr : 1, bilateral ? t.sg : 1, bilateral ? t.sb : 1}) {
        if (!(scale > 0) || !std::isfinite(scale)) call.refuse("term %d: a standard deviation of %g", i, scale);
      }
      attrs.insert(attrs.end(), {double(t.kind), t.sx, t.sy, bilateral ? t.sr : 1, bilateral ? t.sg : 1, bilateral ? t.sb : 1,
                                 t.compat, double(t.normalisation)});
    }
    call.op("dense_crf", {image, unary}, std::move(attrs), {out});
    call.finish(done, user);
  });
}

}  // namespace wm
