/** The gaussian neighbourhood term of NACLIP (its section 3.2) as a matrix: for traces and tests. The kernels hold two 1-D tables instead. */

/**
 * omega[a, b] = exp(-(dy^2 + dx^2) / (2 sigma^2)) between patches of an h x w grid; row and column of the class token,
 * which comes first, are 0.
 *
 * @param h rows of the patch grid
 * @param w columns of the patch grid
 * @param sigma standard deviation in patches
 * @returns row-major [N * N], N = 1 + h * w
 */
export function omega(h: number, w: number, sigma: number): Float32Array {
  const tokens = 1 + h * w;
  const out = new Float32Array(tokens * tokens);
  for (let a = 0; a < h * w; a++) {
    for (let b = 0; b < h * w; b++) {
      const dy = Math.floor(a / w) - Math.floor(b / w);
      const dx = (a % w) - (b % w);
      out[(a + 1) * tokens + b + 1] = Math.exp(-(dy * dy + dx * dx) / (2 * sigma * sigma));
    }
  }
  return out;
}
