/**
 * PyTorch files. They are told apart without unpickling anything: the old form and TorchScript archives are refused as code;
 * the zip form holds plain tensors, but this package reads safetensors only.
 */
import { WordmaskError } from '../util/errors.js';
import { guardDisk, openRegular, readFully } from '../util/files.js';

const tailBytes = 4 << 20;

/**
 * Always rejects for a PyTorch file; returns for a file that is none (a safetensors file under another name).
 * @throws E_PICKLE_FORBIDDEN for the old form and TorchScript, E_MODEL_FORMAT for the zip form
 */
export async function refusePickle(path: string, options: { signal?: AbortSignal } = {}): Promise<void> {
  const kind = await pickleKind(path, options.signal);
  if (kind === 'none') return;
  const advice =
    'use a model that has a .safetensors file (most on the hub do), or save it as safetensors with the library that made it';
  const details = { file: path, kind };
  if (kind === 'zip')
    throw new WordmaskError(
      'E_MODEL_FORMAT',
      `${path} is a PyTorch zip checkpoint; weights are read from safetensors: ${advice}`,
      { details },
    );
  const what = kind === 'torchscript' ? 'a TorchScript archive' : 'a PyTorch file of the old form (a pickle)';
  throw new WordmaskError(
    'E_PICKLE_FORBIDDEN',
    `${path} is ${what}, which can only be read by running code from the file; this is never done: ${advice}`,
    { details },
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
