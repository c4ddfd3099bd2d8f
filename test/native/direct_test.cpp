// Direct calls of the C table on the caller's own arrays: against plain loops, on the CPU and, where the emulated device is
// built (WM_TEST_SIMT names its folder), with pointers of that device and of the host.
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "include/wordmask.h"
#include "native/core/backend_loader.h"
#include "test/native/check.h"

using namespace wm;

namespace {

const wm_api *api() { return wm_get_api(WM_ABI); }

struct Place {
  wm_executor *executor = nullptr;
  int32_t place = WM_ON_DEVICE;
  const char *name = "";
};

// The CPU, then the emulated device twice: arrays that lie on it, arrays on the host. Its memory is the host's.
const std::vector<Place> &places() {
  static const std::vector<Place> all = [] {
    std::vector<Place> list(1);
    list[0].name = "cpu";
    WM_CHECK(api()->executor_create("cpu", &list[0].executor) == WM_OK);
    const char *folder = std::getenv("WM_TEST_SIMT");
    if (folder == nullptr) return list;
    load_backend("simt", folder);
    Place there;
    WM_CHECK(api()->executor_create("simt:0", &there.executor) == WM_OK);
    for (const int32_t place : {WM_ON_DEVICE, WM_ON_HOST}) {
      there.place = place;
      there.name = place == WM_ON_HOST ? "simt, host arrays" : "simt, device arrays";
      list.push_back(there);
    }
    return list;
  }();
  return all;
}

// Storage aligned as an output has to be.
template <class T>
struct Buffer {
  explicit Buffer(size_t n) : count(n), data(static_cast<T *>(std::aligned_alloc(64, (n * sizeof(T) + 127) / 64 * 64))) {
    for (size_t i = 0; i < n; ++i) data[i] = T{};
  }
  ~Buffer() { std::free(data); }
  Buffer(const Buffer &) = delete;
  Buffer &operator=(const Buffer &) = delete;
  T &operator[](size_t i) { return data[i]; }
  size_t count;
  T *data;
};

wm_array array_of(void *data, wm_dtype dtype, const Place &at, const std::vector<int64_t> &shape,
                  const std::vector<int64_t> &stride = {}) {
  wm_array array{};
  array.data = data;
  array.dtype = dtype;
  array.place = at.place;
  array.ndim = static_cast<int32_t>(shape.size());
  int64_t step = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    array.shape[i] = shape[i];
    array.stride[i] = stride.empty() ? step : stride[i];
    step *= shape[i];
  }
  return array;
}

wm_array none() {
  wm_array array{};
  array.ndim = -1;
  return array;
}

float noise(size_t i) { return std::sin(static_cast<float>(i) * 12.9898f + 1.0f); }

void fill(Buffer<float> &buffer, size_t seed) {
  for (size_t i = 0; i < buffer.count; ++i) buffer[i] = noise(seed + 31 * i);
}

struct Result {
  std::atomic<int> calls{0};
  wm_status status = WM_OK;
  static void settle(void *user, wm_status status, const char *) {
    auto *result = static_cast<Result *>(user);
    result->status = status;
    ++result->calls;
  }
};

// q, k, v of one picture with two heads; k lies with its tokens apart (strides).
struct Heads {
  static constexpr int64_t kTokens = 7, kHeads = 2, kWidth = 4;
  Buffer<float> q{56}, k{112}, v{56}, bias{49}, out{56};
  Buffer<uint8_t> mask{7};
  wm_attention_args args{};
  explicit Heads(const Place &at) {
    fill(q, 1);
    fill(k, 2);
    fill(v, 3);
    fill(bias, 4);
    for (size_t i = 0; i < 7; ++i) mask[i] = static_cast<uint8_t>(i == 3 ? 0x7f : 1u << i >> 2);  // row 3: no key is allowed
    args.size = sizeof args;
    args.scale = 0.7;
    args.q = array_of(q.data, WM_DTYPE_F32, at, {1, kHeads, kTokens, kWidth});
    args.k = array_of(k.data, WM_DTYPE_F32, at, {1, kHeads, kTokens, kWidth}, {112, 56, 8, 1});
    args.v = array_of(v.data, WM_DTYPE_F32, at, {1, kHeads, kTokens, kWidth});
    args.bias = array_of(bias.data, WM_DTYPE_F32, at, {1, 1, kTokens, kTokens});
    args.mask = array_of(mask.data, WM_DTYPE_U8, at, {1, kTokens, 1});
    args.out = array_of(out.data, WM_DTYPE_F32, at, {1, kTokens, kHeads, kWidth});
  }
  double wanted(int64_t row, int64_t head, int64_t column) {
    double sum = 0, weighted = 0;
    for (int64_t j = 0; j < kTokens; ++j) {
      if ((mask[static_cast<size_t>(row)] >> j & 1) != 0) continue;
      double product = 0;
      for (int64_t d = 0; d < kWidth; ++d) {
        product += static_cast<double>(q[static_cast<size_t>((head * kTokens + row) * kWidth + d)]) *
                   static_cast<double>(k[static_cast<size_t>(head * 56 + j * 8 + d)]);
      }
      const double weight = std::exp(0.7 * product + static_cast<double>(bias[static_cast<size_t>(row * kTokens + j)]));
      sum += weight;
      weighted += weight * static_cast<double>(v[static_cast<size_t>((head * kTokens + j) * kWidth + column)]);
    }
    return sum == 0 ? 0 : weighted / sum;
  }
};

// Two windows of 4 x 4 over a canvas of 4 x 6, maps and picture of the same size: overlaps are averages, nothing is stretched.
struct Windows {
  Buffer<float> scores{96}, score{24};
  Buffer<int32_t> boxes{8}, classes{3}, labels{24};
  wm_merge_args args{};
  explicit Windows(const Place &at) {
    fill(scores, 5);
    const int32_t corners[8] = {0, 0, 4, 4, 0, 2, 4, 6};
    std::memcpy(boxes.data, corners, sizeof corners);
    for (size_t i = 0; i < 3; ++i) classes[i] = static_cast<int32_t>(2 - i);
    args.size = sizeof args;
    args.canvas_height = args.window_height = args.window_width = 4;
    args.canvas_width = 6;
    args.background = -1;
    args.nothing = 255;
    args.scale = 3;
    args.scores = array_of(scores.data, WM_DTYPE_F32, at, {2, 3, 4, 4});
    args.boxes = array_of(boxes.data, WM_DTYPE_I32, at, {2, 4});
    args.classes = array_of(classes.data, WM_DTYPE_I32, at, {3});
    args.labels = array_of(labels.data, WM_DTYPE_I32, at, {4, 6});
    args.score = array_of(score.data, WM_DTYPE_F32, at, {4, 6});
  }
  // Class and probability of a pixel.
  std::pair<int32_t, double> wanted(size_t y, size_t x) {
    double sum = 0, best = -1e30;
    size_t winner = 0;
    for (size_t s = 0; s < 3; ++s) {
      double total = 0;
      int count = 0;
      for (size_t n = 0; n < 2; ++n) {
        if (x < 2 * n || x >= 4 + 2 * n) continue;
        total += static_cast<double>(scores[(n * 3 + s) * 16 + y * 4 + x - 2 * n]);
        ++count;
      }
      const double mean = total / count;
      sum += std::exp(3 * mean);
      if (mean > best) {
        best = mean;
        winner = s;
      }
    }
    return {classes[winner], std::exp(3 * best) / sum};
  }
};

struct Crf {
  Buffer<uint8_t> image{3 * 30};
  Buffer<float> unary{60}, out{60};
  wm_crf_args args{};
  explicit Crf(const Place &at) {
    for (size_t i = 0; i < image.count; ++i) image[i] = static_cast<uint8_t>(i * 37);
    fill(unary, 6);
    args.size = sizeof args;
    args.iterations = 3;
    args.num_terms = 2;
    args.terms[0] = {WM_CRF_GAUSSIAN, WM_CRF_SYMMETRIC, 3, 3, 1, 1, 1, 3};
    args.terms[1] = {WM_CRF_BILATERAL, WM_CRF_SYMMETRIC, 8, 8, 20, 20, 20, 4};
    args.image = array_of(image.data, WM_DTYPE_U8, at, {5, 6, 3});
    args.unary = array_of(unary.data, WM_DTYPE_F32, at, {2, 5, 6});
    args.out = array_of(out.data, WM_DTYPE_F32, at, {2, 5, 6});
  }
};

}  // namespace

WM_TEST(attention_gives_what_loops_give) {
  for (const Place &at : places()) {
    Heads heads(at);
    WM_CHECK(api()->attention(at.executor, &heads.args, nullptr, nullptr, nullptr, nullptr) == WM_OK);
    bool right = true;
    for (int64_t row = 0; row < 7; ++row) {
      for (int64_t head = 0; head < 2; ++head) {
        for (int64_t d = 0; d < 4; ++d) {
          const double found = static_cast<double>(heads.out[static_cast<size_t>((row * 2 + head) * 4 + d)]);
          right = right && std::fabs(found - heads.wanted(row, head, d)) < 1e-5;
        }
      }
    }
    WM_CHECK(right && heads.out[3 * 8] == 0);
  }
}

WM_TEST(windows_become_labels) {
  for (const Place &at : places()) {
    Windows windows(at);
    WM_CHECK(api()->window_merge(at.executor, &windows.args, nullptr, nullptr, nullptr, nullptr) == WM_OK);
    bool right = true;
    for (size_t i = 0; i < 24; ++i) {
      const auto [label, probability] = windows.wanted(i / 6, i % 6);
      right = right && windows.labels[i] == label && std::fabs(static_cast<double>(windows.score[i]) - probability) < 1e-5;
    }
    WM_CHECK(right);
    // Without the second output, and under a threshold that some miss.
    windows.args.score = none();
    windows.args.threshold = 0.6;
    Result result;
    WM_CHECK(api()->window_merge(at.executor, &windows.args, nullptr, nullptr, Result::settle, &result) == WM_OK);
    WM_CHECK(api()->synchronise(at.executor) == WM_OK && result.calls == 1 && result.status == WM_OK);
    int missed = 0;
    for (size_t i = 0; i < 24; ++i) {
      const auto [label, probability] = windows.wanted(i / 6, i % 6);
      WM_CHECK(windows.labels[i] == (probability < 0.6 ? 255 : label));
      missed += windows.labels[i] == 255;
    }
    WM_CHECK(missed > 0 && missed < 24);
  }
}

WM_TEST(crf_gives_marginals) {
  std::vector<float> first;
  for (const Place &at : places()) {
    Crf crf(at);
    WM_CHECK(api()->dense_crf(at.executor, &crf.args, nullptr, nullptr, nullptr, nullptr) == WM_OK);
    if (first.empty()) first.assign(crf.out.data, crf.out.data + 60);
    bool near = true;
    for (size_t i = 0; i < 30; ++i) {
      near = near && std::fabs(crf.out[i] + crf.out[30 + i] - 1) < 1e-5f && std::fabs(crf.out[i] - first[i]) < 1e-3f;
    }
    WM_CHECK(near);
    crf.args.iterations = 0;
    crf.args.num_terms = 0;
    crf.args.image = none();
    WM_CHECK(api()->dense_crf(at.executor, &crf.args, nullptr, nullptr, nullptr, nullptr) == WM_OK);
    const double share = 1 / (1 + std::exp(static_cast<double>(crf.unary[7]) - static_cast<double>(crf.unary[37])));
    WM_CHECK(std::fabs(static_cast<double>(crf.out[7]) - share) < 1e-5);
  }
}

WM_TEST(calls_that_do_not_fit_are_refused) {
  for (const Place &at : places()) {
    Heads good(at);
    const auto attention = [&](auto change) {
      wm_attention_args args = good.args;
      change(args);
      return api()->attention(at.executor, &args, nullptr, nullptr, nullptr, nullptr);
    };
    WM_CHECK(attention([](auto &a) { a.size -= 8; }) == WM_ERR_USAGE);
    WM_CHECK(attention([](auto &a) { a.q.dtype = 99; }) == WM_ERR_USAGE);
    WM_CHECK(attention([](auto &a) { a.q.place = 7; }) == WM_ERR_USAGE);
    WM_CHECK(attention([](auto &a) { a.q.data = nullptr; }) == WM_ERR_USAGE);
    WM_CHECK(attention([](auto &a) { a.q.data = static_cast<uint8_t *>(a.q.data) + 1; }) == WM_ERR_USAGE);
    WM_CHECK(attention([](auto &a) { a.q.shape[2] = -1; }) == WM_ERR_USAGE);
    WM_CHECK(attention([](auto &a) { a.q.shape[2] = int64_t{1} << 60; }) != WM_OK);
    WM_CHECK(attention([](auto &a) { a.q.ndim = -1; }) == WM_ERR_OPTION);
    WM_CHECK(attention([](auto &a) { a.q.ndim = 9; }) == WM_ERR_USAGE);
    WM_CHECK(attention([](auto &a) { a.k.shape[3] = 3; }) == WM_ERR_OPTION);
    WM_CHECK(attention([](auto &a) { a.v.dtype = WM_DTYPE_I32; }) == WM_ERR_OPTION);
    WM_CHECK(attention([](auto &a) { a.out.shape[1] = 6; }) == WM_ERR_OPTION);
    WM_CHECK(attention([](auto &a) { a.out.stride[1] = 9; }) == WM_ERR_OPTION);
    WM_CHECK(attention([](auto &a) { a.bias.shape[3] = 5; }) == WM_ERR_OPTION);
    WM_CHECK(attention([](auto &a) { a.mask.shape[2] = 2; }) == WM_ERR_OPTION);
    WM_CHECK(attention([](auto &a) { a.source = 5; }) == WM_ERR_OPTION);
    WM_CHECK(attention([](auto &a) { a.scale = NAN; }) == WM_ERR_OPTION);
    WM_CHECK(attention([](auto &a) { a.sigma = 2; }) == WM_ERR_OPTION);
    if (at.place == WM_ON_DEVICE) {
      WM_CHECK(attention([](auto &a) { a.out.data = a.v.data; }) == WM_ERR_USAGE);
      WM_CHECK(attention([](auto &a) { a.out.data = static_cast<float *>(a.out.data) + 1; }) == WM_ERR_OPTION);
    }
    WM_CHECK(std::string(api()->last_error()).find("attention: ") == 0);

    Windows windows(at);
    const auto merge = [&](auto change) {
      wm_merge_args args = windows.args;
      change(args);
      return api()->window_merge(at.executor, &args, nullptr, nullptr, nullptr, nullptr);
    };
    WM_CHECK(merge([](auto &a) { a.boxes.shape[0] = 1; }) == WM_ERR_OPTION);
    WM_CHECK(merge([](auto &a) { a.canvas_width = 0; }) == WM_ERR_OPTION);
    WM_CHECK(merge([](auto &a) { a.scale = 0; }) == WM_ERR_OPTION);
    WM_CHECK(merge([](auto &a) { a.threshold = NAN; }) == WM_ERR_OPTION);
    WM_CHECK(merge([](auto &a) { a.labels.dtype = WM_DTYPE_U8; }) == WM_ERR_OPTION);
    WM_CHECK(merge([](auto &a) { a.score.shape[0] = 3; }) == WM_ERR_OPTION);
    // What only the kernel sees is told as well.
    windows.boxes[3] = 400;
    WM_CHECK(merge([](auto &) {}) == WM_ERR_OPTION);
    windows.boxes[3] = 4;
    WM_CHECK(merge([](auto &) {}) == WM_OK);

    Crf crf(at);
    const auto dense = [&](auto change) {
      wm_crf_args args = crf.args;
      change(args);
      return api()->dense_crf(at.executor, &args, nullptr, nullptr, nullptr, nullptr);
    };
    WM_CHECK(dense([](auto &a) { a.image.ndim = -1; }) == WM_ERR_OPTION);
    WM_CHECK(dense([](auto &a) { a.image.shape[0] = 6; }) == WM_ERR_OPTION);
    WM_CHECK(dense([](auto &a) { a.iterations = -1; }) == WM_ERR_OPTION);
    WM_CHECK(dense([](auto &a) { a.num_terms = 9; }) == WM_ERR_OPTION);
    WM_CHECK(dense([](auto &a) { a.terms[0].kind = 3; }) == WM_ERR_OPTION);
    WM_CHECK(dense([](auto &a) { a.terms[1].sr = 0; }) == WM_ERR_OPTION);
    WM_CHECK(dense([](auto &a) { a.terms[1].normalisation = 9; }) == WM_ERR_OPTION);
    WM_CHECK(dense([](auto &a) { a.out.dtype = WM_DTYPE_BF16; }) == WM_ERR_OPTION);
    WM_CHECK(dense([](auto &) {}) == WM_OK);
  }
}

WM_TEST(aborts_and_empty_arrays) {
  for (const Place &at : places()) {
    Heads heads(at);
    wm_token *token = api()->token_create();
    api()->token_cancel(token);
    WM_CHECK(api()->attention(at.executor, &heads.args, nullptr, token, nullptr, nullptr) == WM_ERR_ABORTED);
    Result result;
    WM_CHECK(api()->attention(at.executor, &heads.args, nullptr, token, Result::settle, &result) == WM_OK);
    WM_CHECK(api()->synchronise(at.executor) == WM_OK && result.calls == 1 && result.status == WM_ERR_ABORTED);
    api()->token_free(token);
    Crf crf(at);
    crf.args.image = none();
    crf.args.num_terms = 1;
    crf.args.unary.shape[0] = crf.args.out.shape[0] = 0;
    WM_CHECK(api()->dense_crf(at.executor, &crf.args, nullptr, nullptr, nullptr, nullptr) == WM_OK);
  }
  for (const Place &at : places()) {
    if (at.place == WM_ON_HOST || at.executor == places()[0].executor) api()->executor_free(at.executor);
  }
}
