#include "native/cpu/attention/attention_terms.h"

#include <cmath>
#include <limits>

namespace wm {
namespace attention {

namespace {

// SAN hides tokens by this much, not by -inf: its shadow class tokens were trained so.
constexpr double kSanForbidden = -100.0;

// A table g(t) = exp(-t^2 / (2 sigma^2)) for t = -(n-1) .. n-1.
template <class T>
void gaussian_table(T *table, int64_t n, double sigma) {
  for (int64_t t = 1 - n; t < n; ++t) {
    table[t + n - 1] = static_cast<T>(std::exp(-static_cast<double>(t * t) / (2 * sigma * sigma)));
  }
}

template <class T>
double mean_norm(const TensorView &x, int64_t b, int64_t head) {
  double total = 0;
  for (int64_t i = 0; i < x.shape[2]; ++i) {
    double squares = 0;
    const int64_t row = b * x.stride[0] + head * x.stride[1] + i * x.stride[2];
    for (int64_t c = 0; c < x.shape[3]; ++c) {
      const double value = load_float<double>(x.data, x.dtype, row + c * x.stride[3]);
      squares += value * value;
    }
    total += std::sqrt(squares);
  }
  return x.shape[2] == 0 ? 0 : total / static_cast<double>(x.shape[2]);
}

}  // namespace

template <class T>
Terms<T>::Terms(OpCall &call, const Params &p, const Kernels<T, T> &loops)
    : p_(p), loops_(loops),
      any_(p.sigma > 0 || p.bias.present() || p.mask.present() || p.class_mode != ClassMode::none) {
  if (p.sigma > 0) make_gaussian(call);
  if (p.nonly) make_factors(call);
  if (p.rescue && p.mask.present()) make_rescued(call);
}

template <class T>
void Terms<T>::make_gaussian(OpCall &call) {
  gy_ = call.workspace<T>(2 * p_.grid_h - 1);
  gx_ = call.workspace<T>(2 * p_.grid_w - 1);
  gaussian_table(gy_, p_.grid_h, p_.sigma);
  gaussian_table(gx_, p_.grid_w, p_.sigma);
}

// scale * mean over heads and all pairs of |a||b| = scale * mean over heads of mean|a| * mean|b|, one value a window.
template <class T>
void Terms<T>::make_factors(OpCall &call) {
  norms_ = call.workspace<T>(p_.batch * p_.heads * 2);
  factor_ = call.workspace<T>(p_.batch);
  Pair pair[2];
  source_pairs(p_, pair);
  call.parallel(p_.batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      double sum = 0;
      for (int64_t head = 0; head < p_.heads; ++head) {
        const double a = mean_norm<T>(*pair[0].a, b, head), c = mean_norm<T>(*pair[0].b, b, head);
        norms_[(b * p_.heads + head) * 2] = static_cast<T>(a);
        norms_[(b * p_.heads + head) * 2 + 1] = static_cast<T>(c);
        sum += a * c;
      }
      factor_[b] = static_cast<T>(p_.scale * sum / static_cast<double>(p_.heads));
    }
  });
}

// A row is rescued when its bits block every key that length and causality leave.
template <class T>
void Terms<T>::make_rescued(OpCall &call) {
  rescued_ = call.workspace<uint8_t>(p_.batch * p_.nq);
  const TensorView &m = p_.mask;
  call.parallel(p_.batch * p_.nq, 64, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t b = row / p_.nq, i = row % p_.nq, limit = key_limit(p_, b, i);
      const uint8_t *bits = m.as<uint8_t>() + b * m.stride[0] + i * m.stride[1];
      bool blocked = true;
      for (int64_t j = 0; blocked && j < limit; ++j) blocked = (bits[(j >> 3) * m.stride[2]] >> (j & 7)) & 1;
      rescued_[row] = blocked;
    }
  });
}

template <class T>
void Terms<T>::gaussian_row(int64_t i, int64_t j0, int64_t n, T *out) const {
  const int64_t patches = p_.grid_h * p_.grid_w, lead = p_.nk - patches;
  if (i < lead) {
    for (int64_t j = 0; j < n; ++j) out[j] = 0;
    return;
  }
  const int64_t y = (i - lead) / p_.grid_w, x = (i - lead) % p_.grid_w;
  const T *gx = gx_ + p_.grid_w - 1 - x, *gy = gy_ + p_.grid_h - 1 - y;
  if (j0 <= lead) {
    for (int64_t j = j0; j < lead && j < j0 + n; ++j) out[j - j0] = 0;
    // Whole grid rows; those behind j0 + n fall into the slack behind the row.
    const int64_t visible = j0 + n - lead;
    if (visible > 0) loops_.grid_bias(gy, gx, (visible + p_.grid_w - 1) / p_.grid_w, p_.grid_w, out + lead - j0);
    return;
  }
  int64_t row = (j0 - lead) / p_.grid_w, column = (j0 - lead) % p_.grid_w, done = 0;
  if (column > 0) {  // the rest of a grid row that an earlier tile began
    for (; column < p_.grid_w && done < n; ++column) out[done++] = gy[row] * gx[column];
    ++row;
  }
  if (done < n) loops_.grid_bias(gy + row, gx, (n - done + p_.grid_w - 1) / p_.grid_w, p_.grid_w, out + done);
}

template <class T>
void Terms<T>::fill_dense(int64_t b, int64_t head, int64_t i, int64_t j0, int64_t n, T *out) const {
  const TensorView &t = p_.bias;
  const int64_t at[3] = {b, head, i};
  int64_t base = 0;
  for (int axis = 0; axis < 3; ++axis) base += t.shape[axis] == 1 ? 0 : at[axis] * t.stride[axis];
  const int64_t step = t.shape[3] == 1 ? 0 : t.stride[3];
  auto add = [&](const auto *data) {
    const auto *src = data + base + j0 * step;
    if (step == 1) {
      for (int64_t j = 0; j < n; ++j) out[j] += static_cast<T>(to_float(src[j]));
    } else {
      for (int64_t j = 0; j < n; ++j) out[j] += static_cast<T>(to_float(src[j * step]));
    }
  };
  switch (t.dtype) {
    case DType::f64: return add(t.as<double>());
    case DType::bf16: return add(t.as<bf16>());
    case DType::f16: return add(t.as<f16>());
    default: return add(t.as<float>());
  }
}

template <class T>
void Terms<T>::block_bits(int64_t b, int64_t i, int64_t j0, int64_t n, T *out) const {
  if (rescued_ != nullptr && rescued_[b * p_.nq + i]) return;
  const TensorView &m = p_.mask;
  const uint8_t *bits = m.as<uint8_t>() + b * m.stride[0] + i * m.stride[1];
  // Tiles start at multiples of 8 keys, so a byte never straddles one.
  if (m.stride[2] == 1) return loops_.block_bits(bits + (j0 >> 3), n, out);
  for (int64_t j = 0; j < n; ++j) {
    const int64_t key = j0 + j;
    if ((bits[(key >> 3) * m.stride[2]] >> (key & 7)) & 1) out[j] = -std::numeric_limits<T>::infinity();
  }
}

template <class T>
void Terms<T>::add_class_row(int64_t b, int64_t head, int64_t i, int64_t j0, int64_t n, T *out) const {
  const bool san = p_.class_mode == ClassMode::san;
  const int64_t copies = p_.class_tokens, first_patch = copies + (san ? 1 : 0);
  const T hidden = san ? static_cast<T>(kSanForbidden) : -std::numeric_limits<T>::infinity();
  const TensorView &m = p_.class_masks;
  const int64_t row = b * m.stride[0] + (m.shape[1] == 1 ? 0 : head * m.stride[1]) + i * m.stride[2];
  // Rows behind the copies hide the copies alone.
  const int64_t end = i < copies ? n : (copies - j0 < n ? copies - j0 : n);
  for (int64_t at = 0; at < end; ++at) {
    const int64_t j = j0 + at;
    if (j < first_patch) {
      if (j != i) out[at] += hidden;
      continue;
    }
    const T value = load_float<T>(m.data, m.dtype, row + (j - first_patch) * m.stride[3]);
    if (san) out[at] += value;
    else if (!(value >= static_cast<T>(0.5))) out[at] += hidden;
  }
}

template <class T>
const T *Terms<T>::direct_bias(int64_t b, int64_t head, int64_t i, int64_t j0) const {
  const TensorView &t = p_.bias;
  const bool alone = t.present() && p_.sigma <= 0 && !p_.mask.present() && p_.class_mode == ClassMode::none;
  if (!alone || t.dtype != (sizeof(T) == 8 ? DType::f64 : DType::f32) || t.shape[3] != p_.nk || t.stride[3] != 1) return nullptr;
  return t.as<T>() + (t.shape[0] == 1 ? 0 : b * t.stride[0]) + (t.shape[1] == 1 ? 0 : head * t.stride[1]) +
         (t.shape[2] == 1 ? 0 : i * t.stride[2]) + j0;
}

template <class T>
void Terms<T>::prefetch(int64_t b, int64_t head, int64_t i, int64_t j0, int64_t n) const {
  const T *bias = direct_bias(b, head, i, j0);
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
  for (int64_t j = 0; bias != nullptr && j < n; j += kLine) __builtin_prefetch(bias + j);
}

template <class T>
const T *Terms<T>::row(int64_t b, int64_t head, int64_t i, int64_t j0, int64_t n, T *buffer) const {
  if (const T *bias = direct_bias(b, head, i, j0)) return bias;
  if (p_.sigma > 0) {
    gaussian_row(i, j0, n, buffer);
    if (p_.nonly) loops_.row_scale(buffer, n, factor_[b]);
  } else {
    for (int64_t j = 0; j < n; ++j) buffer[j] = 0;
  }
  if (p_.bias.present()) fill_dense(b, head, i, j0, n, buffer);
  if (p_.class_mode != ClassMode::none) add_class_row(b, head, i, j0, n, buffer);
  if (p_.mask.present()) block_bits(b, i, j0, n, buffer);
  return buffer;
}

template class Terms<float>;
template class Terms<double>;

}  // namespace attention
}  // namespace wm
