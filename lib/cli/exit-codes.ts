/** What the process answers with: user-interfaces.md section 4. */
import { type ErrorCode, WordmaskError } from '../util/errors.js';

export const exit = {
  done: 0,
  /** Some items failed; they are named on stderr and in the manifest. */
  some: 1,
  usage: 2,
  /** Model, weights, vocabulary or data. */
  data: 3,
  device: 4,
  network: 5,
  disk: 6,
  bug: 70,
  interrupted: 130,
  terminated: 143,
} as const;

const byCode: Readonly<Record<ErrorCode, number>> = {
  E_USAGE: exit.usage,
  E_OPTION: exit.usage,
  E_MODEL_NOT_FOUND: exit.data,
  E_MODEL_ID: exit.data,
  E_MODEL_FORMAT: exit.data,
  E_WEIGHTS: exit.data,
  E_WEIGHTS_VALUE: exit.data,
  E_PICKLE_FORBIDDEN: exit.data,
  E_HASH: exit.data,
  E_TOKENIZER: exit.data,
  E_LABEL: exit.data,
  E_VOCAB: exit.data,
  E_IMAGE_FORMAT: exit.data,
  E_IMAGE_CORRUPT: exit.data,
  E_IMAGE_SIZE: exit.data,
  E_NUMERIC: exit.data,
  E_DEVICE: exit.device,
  E_DEVICE_LOST: exit.device,
  E_OOM: exit.device,
  E_MEMORY_PLAN: exit.device,
  E_TIMEOUT: exit.some,
  E_QUEUE_FULL: exit.network,
  E_WORKER_LOST: exit.network,
  E_NETWORK: exit.network,
  E_OFFLINE: exit.network,
  E_URL_FORBIDDEN: exit.usage,
  E_RANK: exit.network,
  E_DISK: exit.disk,
  E_CHECKPOINT: exit.disk,
  E_ABORTED: exit.interrupted,
  E_DISPOSED: exit.bug,
  E_INTERNAL: exit.bug,
};

/** Exit code of a failure; anything that is no WordmaskError is a bug of ours. */
export function exitCodeOf(error: unknown): number {
  return error instanceof WordmaskError ? byCode[error.code] : exit.bug;
}
