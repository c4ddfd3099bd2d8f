/** Reference data, found through WORDMASK_TEST_DATA; tests that need it are skipped where it is not set. */
import { copyFile, mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSafetensors } from '#lib/weights/index.js';

export const dataFolder = process.env.WORDMASK_TEST_DATA;

/** Options of a tap test that needs the reference data. */
export const needsData = { skip: dataFolder ? false : 'WORDMASK_TEST_DATA is not set' } as const;

export function data(...parts: string[]): string {
  return join(dataFolder ?? '', ...parts);
}

export interface Loaded {
  data: Float32Array | Int32Array | Uint8Array;
  shape: number[];
}

/** All tensors of a file as host arrays. */
export async function loadAll(path: string): Promise<Map<string, Loaded>> {
  await using file = await openSafetensors(path);
  const values = new Map<string, Loaded>();
  for (const name of file.tensors.keys()) {
    const { data: array, shape } = await file.readArray(name);
    values.set(name, { data: array as Loaded['data'], shape });
  }
  return values;
}

/** A model folder as a user would have it: the reference model with the CLIP vocabulary beside it. */
export async function clipTinyFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-clip-tiny-'));
  await mkdir(folder, { recursive: true });
  await copyFile(data('reference-models/clip-tiny/config.json'), join(folder, 'config.json'));
  await copyFile(data('reference-models/clip-tiny/model.safetensors'), join(folder, 'model.safetensors'));
  await copyFile(data('vocab/bpe_simple_vocab_16e6.txt.gz'), join(folder, 'bpe_simple_vocab_16e6.txt.gz'));
  return folder;
}

export function maxError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  let worst = 0;
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs((actual[i] as number) - (expected[i] as number));
    if (!(error <= worst)) worst = error;
  }
  return worst;
}
