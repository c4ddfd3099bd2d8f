// y = x / (1 - rate) where the unit of an element is kept, else 0. A unit is `group` neighbouring elements (1: dropout;
// a whole sample: drop-path); unit u takes its number from word u % 4 of Philox block offset + u / 4, so the gradient
// repeats the call on dy and nothing is saved. Attributes: seedLow, seedHigh, offset, rate, group.
#include "native/core/philox.h"
#include "native/cpu/shape/strided.h"

namespace wm {

namespace {

struct Mask {
  uint32_t key_low, key_high;
  uint64_t offset;
  double rate;
  explicit Mask(const OpCall &call)
      : key_low(static_cast<uint32_t>(call.attr_int(0))), key_high(static_cast<uint32_t>(call.attr_int(1))),
        offset(static_cast<uint64_t>(call.attr_int(2))), rate(call.attr(3)) {}

  PhiloxBlock block(int64_t unit) const { return philox_4x32(key_low, key_high, offset + static_cast<uint64_t>(unit) / 4); }
  // 24 bits, as random_uniform.
  bool keeps(uint32_t word) const { return (word >> 8) * 0x1p-24 >= rate; }
};

template <class T, class C>
void scaled(const T *x, T *y, C factor, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = from_float<T>(static_cast<C>(to_float(x[i])) * factor);
}

template <class T>
void zero_or_scaled(const T *x, T *y, bool keep, ComputeType<T> factor, int64_t n) {
  if (keep) return scaled(x, y, factor, n);
  for (int64_t i = 0; i < n; ++i) y[i] = from_float<T>(ComputeType<T>(0));
}

// Elements begin..end-1, begin a multiple of 4: whole blocks.
template <class T>
void drop_elements(const Mask &mask, const T *x, T *y, int64_t begin, int64_t end, ComputeType<T> factor) {
  for (int64_t i = begin; i < end; i += 4) {
    const PhiloxBlock block = mask.block(i);
    for (int64_t k = 0; k < 4 && i + k < end; ++k) {
      const ComputeType<T> value = static_cast<ComputeType<T>>(to_float(x[i + k])) * factor;
      y[i + k] = from_float<T>(mask.keeps(block.word[k]) ? value : ComputeType<T>(0));
    }
  }
}

void dropout(OpCall &call) {
  const TensorView &x = call.in(0), &out = call.out(0);
  const Mask mask(call);
  const int64_t group = call.attr_int(4), n = x.numel();
  if (group < 1 || out.dtype != x.dtype || out.numel() != n) call.reject("the output must match x, and group be positive");
  static_assert(kElementGrain % 4 == 0, "tasks begin at whole blocks");
  dispatch_float(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto factor = static_cast<ComputeType<T>>(1.0 / (1.0 - mask.rate));
    call.parallel(n, kElementGrain, [&](int64_t begin, int64_t end) {
      if (group == 1) return drop_elements(mask, x.as<T>(), out.as<T>(), begin, end, factor);
      while (begin < end) {
        const int64_t unit = begin / group, stop = (unit + 1) * group < end ? (unit + 1) * group : end;
        zero_or_scaled(x.as<T>() + begin, out.as<T>() + begin, mask.keeps(mask.block(unit).word[unit % 4]), factor,
                       stop - begin);
        begin = stop;
      }
    });
  });
}

}  // namespace

WM_REGISTER_CPU_OP(dropout, dropout, kContiguous)

}  // namespace wm
