/** Model folders of MGCA for tests: a decoder's weights beside the small CLIP they are frozen with. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeSafetensors } from '#lib/weights/index.js';
import { clipTinyFolder } from './data.js';

export interface HostTensor {
  readonly data: Float32Array;
  readonly shape: readonly number[];
}

/** Writes a decoder as a model folder. @returns its path and that of its base */
export async function mgcaFolder(
  tensors: ReadonlyMap<string, HostTensor>,
  given: { base?: string; sha256?: string; defaults?: Record<string, unknown> } = {},
): Promise<{ folder: string; base: string }> {
  const base = given.base ?? (await clipTinyFolder());
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-mgca-'));
  await writeSafetensors(
    join(folder, 'model.safetensors'),
    new Map([...tensors].map(([name, { data, shape }]) => [name, { shape, data }])),
  );
  await writeFile(join(folder, 'config.json'), JSON.stringify({ model_type: 'mgca' }));
  await writeFile(
    join(folder, 'wordmask.json'),
    JSON.stringify({
      format: 1,
      system: 'mgca',
      base: { model: base, ...(given.sha256 && { sha256: given.sha256 }) },
      ...(given.defaults && { defaults: given.defaults }),
    }),
  );
  return { folder, base };
}
