/** The vision tower of a CLIP folder as all sides of the comparison run it: host pixels in, host patch features out. */
import { readFileSync } from 'node:fs';
import { type ClipConfig, type ClipModel, loadClip, parseClipConfig } from '#lib/backbones/clip/index.js';
import { noGrad, scope, Tensor } from '#lib/engine/index.js';
import { openWeights } from '#lib/weights/index.js';

export function readConfig(folder: string): ClipConfig {
  const file = `${folder}/config.json`;
  return parseClipConfig(file, JSON.parse(readFileSync(file, 'utf8')));
}

export async function openVision(folder: string, compute: 'f32' | 'bf16'): Promise<ClipModel> {
  await using weights = await openWeights(`${folder}/model.safetensors`);
  return await loadClip(readConfig(folder), weights, { compute });
}

/** Pixels [N, 3, S, S] -> patch features [N, P, E] f32, not normalised. */
export async function encode(model: ClipModel, pixels: Float32Array): Promise<Float32Array> {
  const side = model.config.vision.imageSize;
  const features = noGrad(() =>
    scope(() => {
      const { rows, grid } = model.patchRows(Tensor.from(pixels, [pixels.length / (3 * side * side), 3, side, side]));
      return model.project(model.visionBlocks(model.embedPatches(rows, grid), grid).slice(1, 1));
    }),
  );
  try {
    return (await features.data()) as Float32Array;
  } finally {
    features.dispose();
  }
}

/** Smooth noise, as a photograph has: neighbouring pixels are alike. */
export function noisePixels(count: number, side: number): Float32Array {
  const pixels = new Float32Array(count * 3 * side * side);
  let state = 1;
  for (let plane = 0; plane < count * 3; plane++) {
    const waves = Array.from({ length: 8 }, () =>
      Array.from({ length: 3 }, () => (state = (state * 48271) % 2147483647) / 2147483647),
    );
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        let value = 0;
        for (const [a = 0, b = 0, c = 0] of waves)
          value += Math.sin((40 * (a - 0.5) * x + 40 * (b - 0.5) * y) / side + 6.3 * c);
        pixels[(plane * side + y) * side + x] = value / 2;
      }
    }
  }
  return pixels;
}
