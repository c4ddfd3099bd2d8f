// exp(x) for x <= 0 over the vector types of the including file, which defines set1, fma, mul, round_int and
// scale2(a, n, keep, floor) = a * 2^n where keep >= floor, else 0. Included inside an anonymous namespace.
//
// x = n ln 2 + r with |r| <= ln(2)/2 and a polynomial of degree 7 (the coefficients of Cephes' expf): 1 ulp. Below -80
// the result is 0 in place of some 1e-35: a marginal is unchanged at f32, and no denormal reaches the sums.
template <class V>
inline V exp_nonpositive(V x) {
  const V n = round_int(mul(x, set1(x, 1.44269504088896341f)));
  V r = fma(n, set1(x, -0.693359375f), x);  // ln 2 in two parts, the first exact times n
  r = fma(n, set1(x, 2.12194440e-4f), r);
  V p = set1(x, 1.9875691500e-4f);
  p = fma(p, r, set1(x, 1.3981999507e-3f));
  p = fma(p, r, set1(x, 8.3334519073e-3f));
  p = fma(p, r, set1(x, 4.1665795894e-2f));
  p = fma(p, r, set1(x, 1.6666665459e-1f));
  p = fma(p, r, set1(x, 5.0000001201e-1f));
  p = fma(mul(p, r), r, r);
  p = fma(p, set1(x, 1.0f), set1(x, 1.0f));
  return scale2(p, n, x, set1(x, -80.0f));
}
