// An add-on that owns a camera frame and lets wordmask work on it. It is compiled against wordmask.h alone and linked to
// nothing: the functions come through the External `capi` of `wordmask/native`.
//   connect(capi)           checks the tag, the ABI number and the size of the table
//   frame() -> External     the frame as a DLPack tensor u8 [H, W, 3], for Tensor.fromDLPack
//   brightness() -> number  mean of the frame, by two ops on the lent pixels, without JS in between
//   outline() -> number     pixels of the square, by one direct call of the dense CRF on the frame and a guess of its own
//   take(External)          labels of what `toDLPack` gave, f32 [C, H, W]: how many pixels each class has
//   framesLent() -> number  how often wordmask still holds the pixels
#include <napi.h>
#include <wordmask.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace {

constexpr int64_t kHeight = 24, kWidth = 32;

const wm_api *api = nullptr;
std::atomic<int> lent{0};

// A dark square on a bright ground.
std::vector<uint8_t> &pixels() {
  static std::vector<uint8_t> frame = [] {
    std::vector<uint8_t> made(static_cast<size_t>(kHeight * kWidth * 3), 220);
    for (int64_t y = 6; y < 18; ++y) {
      for (int64_t i = 8 * 3; i < 24 * 3; ++i) made[static_cast<size_t>(y * kWidth * 3 + i)] = 30;
    }
    return made;
  }();
  return frame;
}

void check(Napi::Env env, wm_status status) {
  if (status != WM_OK) throw Napi::Error::New(env, api->last_error());
}

void connect(const Napi::CallbackInfo &info) {
  const napi_type_tag tag = {WM_API_TAG_LOWER, WM_API_TAG_UPPER};
  if (!info[0].IsExternal() || !info[0].As<Napi::External<wm_api>>().CheckTypeTag(&tag)) {
    throw Napi::TypeError::New(info.Env(), "connect: expected `capi` of wordmask/native");
  }
  const wm_api *table = info[0].As<Napi::External<wm_api>>().Data();
  // Entries beyond the library's own size do not exist there.
  if (table->abi != WM_ABI || table->size < offsetof(wm_api, dense_crf) + sizeof table->dense_crf) {
    throw Napi::Error::New(info.Env(), "connect: this wordmask is older than the header: build against its own");
  }
  api = table;
}

struct Frame {
  wm_dlpack tensor{};
  int64_t shape[3] = {kHeight, kWidth, 3};
};

wm_dlpack *lend_frame() {
  auto *frame = new Frame;
  frame->tensor.version.major = WM_DLPACK_MAJOR;
  frame->tensor.version.minor = WM_DLPACK_MINOR;
  frame->tensor.manager_ctx = frame;
  frame->tensor.deleter = [](wm_dlpack *self) {
    --lent;
    delete static_cast<Frame *>(self->manager_ctx);
  };
  wm_dlpack_tensor &tensor = frame->tensor.dl_tensor;
  tensor.data = pixels().data();
  tensor.device.type = WM_DLPACK_CPU;
  tensor.ndim = 3;
  tensor.dtype.code = WM_DLPACK_UINT;
  tensor.dtype.bits = 8;
  tensor.dtype.lanes = 1;
  tensor.shape = frame->shape;
  ++lent;
  return &frame->tensor;
}

Napi::Value frame(const Napi::CallbackInfo &info) {
  const napi_type_tag tag = {WM_DLPACK_TAG_LOWER, WM_DLPACK_TAG_UPPER};
  auto external = Napi::External<wm_dlpack_box>::New(info.Env(), new wm_dlpack_box{lend_frame(), nullptr},
                                                     [](Napi::BasicEnv, wm_dlpack_box *box) {
                                                       if (box->tensor != nullptr) box->tensor->deleter(box->tensor);
                                                       delete box;
                                                     });
  external.TypeTag(&tag);
  return external;
}

// A queue of the add-on's own; its thread ends with it.
struct Queue {
  wm_executor *executor = nullptr;
  std::vector<wm_storage *> storages;
  ~Queue() {
    for (wm_storage *storage : storages) api->storage_release(storage);
    api->executor_free(executor);
  }
};

Napi::Value brightness(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  if (api == nullptr) throw Napi::Error::New(env, "brightness: connect first");
  Queue queue;
  check(env, api->executor_create("cpu", &queue.executor));
  wm_view view{};
  wm_dlpack *lent_frame = lend_frame();
  const wm_status taken = api->dlpack_import(queue.executor, lent_frame, nullptr, &view);
  if (taken != WM_OK) lent_frame->deleter(lent_frame);
  check(env, taken);
  queue.storages.push_back(view.storage);

  // cast to f32: its attribute is the dtype wanted.
  wm_spec floats{};
  floats.dtype = WM_DTYPE_F32;
  floats.ndim = 3;
  for (int i = 0; i < 3; ++i) floats.shape[i] = view.shape[i];
  const double dtype = WM_DTYPE_F32;
  wm_storage *values = nullptr;
  check(env, api->run(queue.executor, "cast", &view, 1, &dtype, 1, &floats, 1, nullptr, &values));
  queue.storages.push_back(values);

  std::vector<float> host(pixels().size());
  wm_view cast = view;
  cast.storage = values;
  cast.dtype = WM_DTYPE_F32;
  wm_status outcome = WM_OK;
  const wm_done done = [](void *user, wm_status status, const char *) { *static_cast<wm_status *>(user) = status; };
  check(env, api->read(queue.executor, &cast, host.data(), host.size() * sizeof(float), done, &outcome));
  check(env, api->synchronise(queue.executor));
  if (outcome != WM_OK) throw Napi::Error::New(env, "brightness: the device failed");
  double sum = 0;
  for (const float value : host) sum += value;
  return Napi::Number::New(env, sum / static_cast<double>(host.size()));
}

wm_array array_of(void *data, wm_dtype dtype, std::vector<int64_t> shape) {
  wm_array array{};
  array.data = data;
  array.dtype = dtype;
  array.ndim = static_cast<int32_t>(shape.size());
  int64_t step = 1;
  for (int i = array.ndim - 1; i >= 0; --i) {
    array.shape[i] = shape[static_cast<size_t>(i)];
    array.stride[i] = step;
    step *= array.shape[i];
  }
  return array;
}

Napi::Value outline(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  if (api == nullptr) throw Napi::Error::New(env, "outline: connect first");
  Queue queue;
  check(env, api->executor_create("cpu", &queue.executor));
  // A rough guess of two classes, shifted against the square; the colours pull it back.
  constexpr size_t kPixels = kHeight * kWidth;
  std::vector<float> unary(2 * kPixels);
  struct alignas(16) Aligned {
    float values[2 * kPixels];
  };
  const auto marginals = std::make_unique<Aligned>();
  for (size_t i = 0; i < kPixels; ++i) {
    const size_t y = i / kWidth, x = i % kWidth;
    const bool square = y >= 8 && y < 20 && x >= 10 && x < 26;
    unary[i] = square ? 1.2f : 0.4f;
    unary[kPixels + i] = square ? 0.4f : 1.2f;
  }
  wm_crf_args args{};
  args.size = sizeof args;
  args.iterations = 5;
  args.num_terms = 1;
  args.terms[0] = {WM_CRF_BILATERAL, WM_CRF_SYMMETRIC, 8, 8, 20, 20, 20, 4};
  args.image = array_of(pixels().data(), WM_DTYPE_U8, {kHeight, kWidth, 3});
  args.unary = array_of(unary.data(), WM_DTYPE_F32, {2, kHeight, kWidth});
  args.out = array_of(marginals->values, WM_DTYPE_F32, {2, kHeight, kWidth});
  // Without a callback the call waits.
  check(env, api->dense_crf(queue.executor, &args, nullptr, nullptr, nullptr, nullptr));
  uint32_t count = 0;
  for (size_t i = 0; i < kPixels; ++i) count += marginals->values[kPixels + i] > marginals->values[i];
  return Napi::Number::New(env, count);
}

Napi::Value take(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const napi_type_tag tag = {WM_DLPACK_TAG_LOWER, WM_DLPACK_TAG_UPPER};
  if (!info[0].IsExternal() || !info[0].As<Napi::External<wm_dlpack_box>>().CheckTypeTag(&tag)) {
    throw Napi::TypeError::New(env, "take: expected what toDLPack() gives");
  }
  wm_dlpack_box *box = info[0].As<Napi::External<wm_dlpack_box>>().Data();
  wm_dlpack *managed = box->tensor;
  if (managed == nullptr) throw Napi::Error::New(env, "take: somebody took this tensor before");
  const wm_dlpack_tensor &tensor = managed->dl_tensor;
  const bool fits = tensor.ndim == 3 && tensor.device.type == WM_DLPACK_CPU && tensor.dtype.code == WM_DLPACK_FLOAT &&
                    tensor.dtype.bits == 32;
  if (!fits) throw Napi::Error::New(env, "take: expected f32 [C, H, W] on the CPU");
  box->tensor = nullptr;
  const auto *values = reinterpret_cast<const float *>(static_cast<const char *>(tensor.data) + tensor.byte_offset);
  const int64_t *size = tensor.shape, *step = tensor.strides;
  std::vector<uint32_t> pixels_of(static_cast<size_t>(size[0]), 0);
  for (int64_t y = 0; y < size[1]; ++y) {
    for (int64_t x = 0; x < size[2]; ++x) {
      int64_t best = 0;
      const float *at = values + y * step[1] + x * step[2];
      for (int64_t c = 1; c < size[0]; ++c) {
        if (at[c * step[0]] > at[best * step[0]]) best = c;
      }
      ++pixels_of[static_cast<size_t>(best)];
    }
  }
  managed->deleter(managed);
  Napi::Array counts = Napi::Array::New(env, pixels_of.size());
  for (size_t i = 0; i < pixels_of.size(); ++i) counts.Set(static_cast<uint32_t>(i), pixels_of[i]);
  return counts;
}

Napi::Value frames_lent(const Napi::CallbackInfo &info) { return Napi::Number::New(info.Env(), lent.load()); }

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("connect", Napi::Function::New(env, connect, "connect"));
  exports.Set("frame", Napi::Function::New(env, frame, "frame"));
  exports.Set("brightness", Napi::Function::New(env, brightness, "brightness"));
  exports.Set("outline", Napi::Function::New(env, outline, "outline"));
  exports.Set("take", Napi::Function::New(env, take, "take"));
  exports.Set("framesLent", Napi::Function::New(env, frames_lent, "framesLent"));
  return exports;
}

}  // namespace

NODE_API_MODULE(consumer, init)
