/** onnxruntime-node from bench/node_modules: no dependency of the package, so it is looked up at run time. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { packageRoot } from '#lib/binding/addon.js';

interface OrtTensor {
  readonly data: Float32Array;
  readonly dims: readonly number[];
}
interface OrtSession {
  run(feeds: Record<string, OrtTensor>): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
}
interface Ort {
  readonly InferenceSession: { create(path: string, options: Record<string, unknown>): Promise<OrtSession> };
  readonly Tensor: new (type: 'float32', data: Float32Array, dims: readonly number[]) => OrtTensor;
}

export interface OrtEncoder {
  encode(pixels: Float32Array): Promise<Float32Array>;
  release(): Promise<void>;
}

/** Version of onnxruntime-node, or undefined where `npm install` was not run in bench/. */
export function ortVersion(): string | undefined {
  try {
    const require = createRequire(join(packageRoot, 'bench', 'package.json'));
    return (require('onnxruntime-node/package.json') as { version: string }).version;
  } catch {
    return undefined;
  }
}

export async function openOrt(path: string, side: number, threads: number): Promise<OrtEncoder> {
  const ort = createRequire(join(packageRoot, 'bench', 'package.json'))('onnxruntime-node') as Ort;
  const session = await ort.InferenceSession.create(path, {
    executionProviders: ['cpu'],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
  });
  return {
    encode: async (pixels) => {
      const batch = pixels.length / (3 * side * side);
      const { projected_patches: output } = await session.run({
        pixel_values: new ort.Tensor('float32', pixels, [batch, 3, side, side]),
      });
      if (!output) throw new Error('the graph has no output projected_patches');
      return output.data;
    },
    release: () => session.release(),
  };
}
