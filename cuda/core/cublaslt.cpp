#include "cuda/core/cublaslt.h"

#include <dlfcn.h>
#include <library_types.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <tuple>

namespace wm::cuda {

namespace {

using namespace lt;

// The 13 functions. Each member has the name of the library's, without cublasLt.
struct Library {
  Status (*Create)(Handle **);
  size_t (*GetVersion)();
  Status (*MatmulDescCreate)(Descriptor **, int compute, cudaDataType scale);
  Status (*MatmulDescDestroy)(Descriptor *);
  Status (*MatmulDescSetAttribute)(Descriptor *, int attribute, const void *value, size_t bytes);
  Status (*MatrixLayoutCreate)(Layout **, cudaDataType, uint64_t rows, uint64_t columns, int64_t line_stride);
  Status (*MatrixLayoutDestroy)(Layout *);
  Status (*MatrixLayoutSetAttribute)(Layout *, int attribute, const void *value, size_t bytes);
  Status (*MatmulPreferenceCreate)(Preference **);
  Status (*MatmulPreferenceDestroy)(Preference *);
  Status (*MatmulPreferenceSetAttribute)(Preference *, int attribute, const void *value, size_t bytes);
  Status (*MatmulAlgoGetHeuristic)(Handle *, Descriptor *, Layout *a, Layout *b, Layout *c, Layout *d, Preference *, int wanted,
                                   Heuristic *results, int *found);
  Status (*Matmul)(Handle *, Descriptor *, const void *alpha, const void *a, Layout *, const void *b, Layout *, const void *beta,
                   const void *c, Layout *, void *d, Layout *, const Algorithm *, void *workspace, size_t bytes, cudaStream_t);
};

template <class F>
bool find(void *module, const char *name, F &function) {
  function = reinterpret_cast<F>(dlsym(module, name));
  return function != nullptr;
}

bool fill(void *module, Library &l) {
  return find(module, "cublasLtCreate", l.Create) && find(module, "cublasLtGetVersion", l.GetVersion) &&
         find(module, "cublasLtMatmulDescCreate", l.MatmulDescCreate) &&
         find(module, "cublasLtMatmulDescDestroy", l.MatmulDescDestroy) &&
         find(module, "cublasLtMatmulDescSetAttribute", l.MatmulDescSetAttribute) &&
         find(module, "cublasLtMatrixLayoutCreate", l.MatrixLayoutCreate) &&
         find(module, "cublasLtMatrixLayoutDestroy", l.MatrixLayoutDestroy) &&
         find(module, "cublasLtMatrixLayoutSetAttribute", l.MatrixLayoutSetAttribute) &&
         find(module, "cublasLtMatmulPreferenceCreate", l.MatmulPreferenceCreate) &&
         find(module, "cublasLtMatmulPreferenceDestroy", l.MatmulPreferenceDestroy) &&
         find(module, "cublasLtMatmulPreferenceSetAttribute", l.MatmulPreferenceSetAttribute) &&
         find(module, "cublasLtMatmulAlgoGetHeuristic", l.MatmulAlgoGetHeuristic) &&
         find(module, "cublasLtMatmul", l.Matmul);
}

// The majors whose declarations are those above.
const Library *open_library() {
  static Library library;
  for (const char *name : {"libcublasLt.so.13", "libcublasLt.so.12"}) {
    void *module = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (module == nullptr) continue;
    if (fill(module, library) && library.GetVersion() >= 120000 && library.GetVersion() < 140000) return &library;
    dlclose(module);
  }
  return nullptr;
}

const Library *library() {
  static const char *wish = std::getenv("WORDMASK_CUBLASLT");
  static const Library *const opened = wish != nullptr && std::strcmp(wish, "1") == 0 ? open_library() : nullptr;
  return opened;
}

constexpr int kMaxDevices = 64;
constexpr size_t kMaxChoices = 512;

// Handles live as long as the process, as the module does; algorithms are looked for once a shape.
struct State {
  using Key = std::tuple<int, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int>;
  std::mutex mutex;
  Handle *handles[kMaxDevices] = {};
  std::map<Key, Heuristic> choices;
};
State &state() {
  static State instance;
  return instance;
}

Handle *handle_of(const Library &l, int device) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  Handle *&handle = state().handles[device];
  if (handle == nullptr && l.Create(&handle) != 0) handle = nullptr;
  return handle;
}

// The library counts columns first: out^T [n, m] = b a^T.
class Call {
 public:
  Call(const Library &l, const LtProduct &p) : l_(l), p_(p) {
    const int left = p.b.along_k ? kTranspose : kTransposeNone, right = p.a.along_k ? kTransposeNone : kTranspose;
    ok_ = l.MatmulDescCreate(&descriptor_, kCompute32f, CUDA_R_32F) == 0 &&
          l.MatmulDescSetAttribute(descriptor_, kDescriptorTransposeA, &left, sizeof left) == 0 &&
          l.MatmulDescSetAttribute(descriptor_, kDescriptorTransposeB, &right, sizeof right) == 0 &&
          layout(&b_, CUDA_R_16BF, p.b.along_k ? p.k : p.n, p.b.along_k ? p.n : p.k, p.b.line_stride, p.b.batch_stride) &&
          layout(&a_, CUDA_R_16BF, p.a.along_k ? p.k : p.m, p.a.along_k ? p.m : p.k, p.a.line_stride, p.a.batch_stride) &&
          layout(&out_, p.out_bf16 ? CUDA_R_16BF : CUDA_R_32F, p.n, p.m, p.n, p.m * p.n);
  }
  ~Call() {
    for (Layout *layout : {a_, b_, out_}) {
      if (layout != nullptr) l_.MatrixLayoutDestroy(layout);
    }
    if (descriptor_ != nullptr) l_.MatmulDescDestroy(descriptor_);
  }
  Call(const Call &) = delete;
  Call &operator=(const Call &) = delete;

  bool ok() const { return ok_; }

  bool choose(Handle *handle, Heuristic &choice) const {
    Preference *preference = nullptr;
    if (l_.MatmulPreferenceCreate(&preference) != 0) return false;
    const uint64_t bytes = kLtWorkspace;
    int found = 0;
    const bool done = l_.MatmulPreferenceSetAttribute(preference, kPreferenceWorkspace, &bytes, sizeof bytes) == 0 &&
                      l_.MatmulAlgoGetHeuristic(handle, descriptor_, b_, a_, out_, out_, preference, 1, &choice, &found) == 0;
    l_.MatmulPreferenceDestroy(preference);
    return done && found > 0 && choice.state == 0 && choice.workspace <= kLtWorkspace;
  }

  bool multiply(Handle *handle, const Heuristic &choice, void *workspace, cudaStream_t stream) const {
    const float beta = 0.0f;
    return l_.Matmul(handle, descriptor_, &p_.scale, p_.b.data, b_, p_.a.data, a_, &beta, p_.out, out_, p_.out, out_,
                     &choice.algorithm, workspace, kLtWorkspace, stream) == 0;
  }

 private:
  bool layout(Layout **made, cudaDataType type, int64_t rows, int64_t columns, int64_t line_stride, int64_t batch_stride) const {
    const int32_t batch = static_cast<int32_t>(p_.batch);
    return l_.MatrixLayoutCreate(made, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), line_stride) == 0 &&
           l_.MatrixLayoutSetAttribute(*made, kLayoutBatch, &batch, sizeof batch) == 0 &&
           l_.MatrixLayoutSetAttribute(*made, kLayoutStride, &batch_stride, sizeof batch_stride) == 0;
  }

  const Library &l_;
  const LtProduct &p_;
  Descriptor *descriptor_ = nullptr;
  Layout *a_ = nullptr, *b_ = nullptr, *out_ = nullptr;
  bool ok_ = false;
};

bool find_choice(const Call &call, const LtProduct &p, Handle *handle, int device, Heuristic &choice) {
  const int flags = (p.a.along_k ? 1 : 0) | (p.b.along_k ? 2 : 0) | (p.out_bf16 ? 4 : 0);
  const State::Key key(device, p.m, p.n, p.k, p.batch, p.a.line_stride, p.b.line_stride, p.a.batch_stride, p.b.batch_stride, flags);
  const std::lock_guard<std::mutex> lock(state().mutex);
  auto &choices = state().choices;
  const auto known = choices.find(key);
  if (known != choices.end()) {
    choice = known->second;
    return true;
  }
  if (!call.choose(handle, choice)) return false;
  if (choices.size() >= kMaxChoices) choices.clear();
  choices.emplace(key, choice);
  return true;
}

}  // namespace

bool cublaslt_wanted() { return library() != nullptr; }

bool cublaslt_multiply(const LtProduct &product, void *workspace, cudaStream_t stream) {
  const Library *l = library();
  int device = 0;
  if (l == nullptr || product.batch > INT32_MAX || cudaGetDevice(&device) != cudaSuccess || device >= kMaxDevices) return false;
  Handle *handle = handle_of(*l, device);
  if (handle == nullptr) return false;
  const Call call(*l, product);
  Heuristic choice;
  if (!call.ok() || !find_choice(call, product, handle, device, choice)) return false;
  return call.multiply(handle, choice, workspace, stream);
}

}  // namespace wm::cuda
