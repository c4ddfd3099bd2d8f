/** A worker thread that reads and decodes pairs: opens the source of the recipe and answers requests with samples. */
import { parentPort, workerData } from 'node:worker_threads';
import { isProblem, type PairProblem, type PairRequest, type PairSample } from '../data/types.js';
import { errorRecord } from './error-record.js';
import type { DataRecipe } from './recipe.js';
import { openSource } from './sources.js';

export interface WorkerSetup {
  readonly data: DataRecipe;
  readonly seed: number;
  readonly folder: string;
}

export type WorkerAnswer =
  | { readonly opened: { readonly name: string; readonly count: number } }
  | { readonly warning: string }
  | { readonly id: number; readonly samples: (PairSample | PairProblem)[] }
  | { readonly id: number; readonly error: ReturnType<typeof errorRecord> };

const port = parentPort;
if (port) {
  const { data, seed, folder } = workerData as WorkerSetup;
  const post = (answer: WorkerAnswer, transfer: ArrayBuffer[] = []): void => port.postMessage(answer, transfer);
  const onWarn = (warning: string): void => post({ warning });
  const source = openSource(data, { seed, folder, onWarn });
  source.then(
    ({ name, count }) => post({ opened: { name, count } }),
    (error: unknown) => post({ id: -1, error: errorRecord(error) }),
  );
  port.on('message', async ({ id, requests }: { id: number; requests: PairRequest[] }) => {
    try {
      const samples = (await (await source).read(requests)).map((sample) =>
        isProblem(sample) ? sample : owned(sample),
      );
      const buffers = samples.flatMap((sample) => (isProblem(sample) ? [] : [sample.image.data.buffer as ArrayBuffer]));
      post({ id, samples }, [...new Set(buffers)]);
    } catch (error) {
      post({ id, error: errorRecord(error) });
    }
  });
}

/** Pixels in a buffer of their own, which can change threads; a source may keep its own copy. */
function owned(sample: PairSample): PairSample {
  const { data, width, height } = sample.image;
  return { ...sample, image: { data: new Uint8Array(data), width, height } };
}
