// Minimax polynomials of the vector maths (vmath_avx2.h, vmath_avx512.h), fitted in double for the stated
// weight and rounded to f32 one coefficient at a time, lowest power first. Every function built on them has a
// relative error of at most 2e-7 where its result is a normal f32.
#pragma once

namespace wm {
namespace vmath {

// e^r on |r| <= ln2/2: 1 + r + r^2 (c0 + c1 r + ...). Relative error 3.2e-9.
constexpr float kExp[] = {0.49999994f, 0.166665211f, 0.0416682921f, 0.00836871937f, 0.00138187292f};
// 2^r on |r| <= 1/2: 1 + r (c0 + c1 r + ...). Relative error 3.0e-9.
constexpr float kExp2[] = {0.693147182f,   0.240226477f,   0.0555035956f,
                           0.00961850304f, 0.00133909984f, 0.000153278423f};
constexpr float kLog2e = 1.44269504f;
// ln 2 in two parts; the first has 9 trailing zero bits, so that n times it is exact for |n| <= 512.
constexpr float kLn2High = 0.693145752f;
constexpr float kLn2Low = 1.42860677e-6f;
// Below it e^x is not a normal number and becomes 0; above it the result is infinite.
constexpr float kExpLowest = -87.3365447f;
constexpr float kExpHighest = 89.0f;

// ln(1 + m) / m - 1 + m/2 over m^2 on sqrt(1/2) - 1 <= m <= sqrt(2) - 1, in powers of m. Relative
// error 5.9e-9.
constexpr float kLog[] = {0.333333313f, -0.250008196f, 0.200012401f, -0.166234061f,
                          0.142016172f, -0.131596893f, 0.127619937f, -0.0763593987f};

// erf(x) / x in powers of x^2 for |x| <= 1.
constexpr float kErfSmall[] = {1.12837911f,    -0.376122177f,   0.112789661f,   -0.0266611725f,
                               0.00482336478f, -0.00048123271f, -2.6800044e-05f};
// ln(1 - erf(t)) in powers of t for 1 < t <= 4.1; above that erf is 1 in f32.
constexpr float kErfLarge[] = {-0.000320574676f, -1.12717164f,    -0.63801229f,   -0.103218064f,
                               0.0218895227f,    -0.00296006678f, 0.000187597834f};
constexpr float kErfOne = 4.1f;

// tanh(x) / x - 1 over x^2, in powers of x^2 for |x| <= 0.625. Relative error 4.5e-9.
constexpr float kTanh[] = {-0.333332807f, 0.133314058f, -0.0537365153f, 0.0206281673f, -0.00569229666f};
constexpr float kTanhSmall = 0.625f;

// log2(erfc(a / sqrt2) / 2) in powers of a on 0 <= a <= 6; above that it goes on falling towards -infinity,
// where the true value no longer matters: a Phi(-a) < 6e-9. Absolute error of a Phi(-a): 3e-8.
constexpr float kHalfErfc[] = {-0.99999994f,     -1.15110838f,    -0.45917964f,
                               -0.0525906309f,   0.00721098483f,  -0.000257433538f,
                               -0.000133621346f, 2.78440384e-05f, -1.83954364e-06f};

}  // namespace vmath
}  // namespace wm
