/**
 * PyTorch files, told apart without unpickling anything: the zip form is read as data (torch/), the old form and TorchScript
 * archives hold code and are refused.
 */
import { basename } from 'node:path';
import { WordmaskError } from '../util/errors.js';
import { guardDisk, openRegular, readFully } from '../util/files.js';
import { TorchFile } from './torch/torch-file.js';

const tailBytes = 4 << 20;

/** Files that are published as TorchScript, and where the same weights are to be had. */
const published: readonly (readonly [RegExp, string])[] = [
  [/^ViT-B-32/, 'openai/clip-vit-base-patch32'],
  [/^ViT-B-16/, 'openai/clip-vit-base-patch16'],
  [/^ViT-L-14-336/, 'openai/clip-vit-large-patch14-336'],
  [/^ViT-L-14/, 'openai/clip-vit-large-patch14'],
];

/**
 * Opens a PyTorch checkpoint; undefined for a file that is none (a safetensors file under another name).
 * @throws E_PICKLE_FORBIDDEN for the old form, TorchScript, and pickles that need more than plain values and tensors;
 * E_WEIGHTS for damaged ones
 */
export async function openTorch(path: string, options: { signal?: AbortSignal } = {}): Promise<TorchFile | undefined> {
  const kind = await pickleKind(path, options.signal);
  if (kind === 'none') return undefined;
  if (kind === 'zip') return TorchFile.open(path, options);
  const what = kind === 'torchscript' ? 'a TorchScript archive' : 'a PyTorch file of the old form (a bare pickle)';
  const same = published.find(([pattern]) => pattern.test(basename(path)))?.[1];
  const advice = same
    ? `the same weights are ${same} on the hub: wordmask models pull ${same}`
    : 'use a model that has a .safetensors file (most on the hub do), or save its state dictionary again with a PyTorch of 1.6 or later, or as safetensors';
  throw new WordmaskError(
    'E_PICKLE_FORBIDDEN',
    `${path} is ${what}, which can only be read by running code from the file; this is never done: ${advice}`,
    { details: { file: path, kind } },
  );
}

type PickleKind = 'none' | 'zip' | 'torchscript' | 'legacy';

async function pickleKind(path: string, signal?: AbortSignal): Promise<PickleKind> {
  const handle = await openRegular(path, 'E_MODEL_NOT_FOUND');
  try {
    return await guardDisk('read', path, async () => {
      const { size } = await handle.stat();
      const head = new Uint8Array(Math.min(16, size));
      await readFully(handle, head, 0, signal);
      if (head[0] === 0x50 && head[1] === 0x4b) {
        // The list of a zip's files stands at its end; the names in it are not compressed.
        const tail = new Uint8Array(Math.min(tailBytes, size));
        await readFully(handle, tail, size - tail.length, signal);
        const text = Buffer.from(tail.buffer).toString('latin1');
        return /\/code\/|\/constants\.pkl/.test(text) ? 'torchscript' : 'zip';
      }
      const length = head.length >= 8 ? new DataView(head.buffer).getBigUint64(0, true) : 0n;
      const safetensors = head[8] === 0x7b && length <= BigInt(size);
      return safetensors ? 'none' : 'legacy';
    });
  } finally {
    await handle.close();
  }
}
