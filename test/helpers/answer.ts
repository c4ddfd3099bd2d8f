/** One value that depends on arithmetic, for comparison between environments. */
import { matmul, mean, scope, softmax, square, Tensor } from '#lib/engine/index.js';

export function answer(): Promise<number> {
  return scope(async () => {
    const a = Tensor.from(
      Float32Array.from({ length: 128 * 128 }, (_, i) => Math.sin(i)),
      [128, 128],
    );
    let x = a;
    for (let i = 0; i < 10; i++) x = softmax(matmul(x, a));
    return mean(square(x)).item();
  });
}
