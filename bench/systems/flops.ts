/** FLOP of one ViT window: L (24 T D^2 + 4 T^2 D) + 2 (T - 1) 3 p^2 D (kernels.md section 7). */
export function windowFlops(layers: number, tokens: number, width: number, patch: number): number {
  return layers * (24 * tokens * width ** 2 + 4 * tokens ** 2 * width) + 2 * (tokens - 1) * 3 * patch ** 2 * width;
}
