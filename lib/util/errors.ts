/**
 * The one error class of the package. Every failure a user can meet is a WordmaskError whose message says
 * what was expected, for which argument, what came, and what to do.
 */

export const errorCodes = [
  'E_USAGE',
  'E_OPTION',
  'E_MODEL_NOT_FOUND',
  'E_MODEL_ID',
  'E_MODEL_FORMAT',
  'E_WEIGHTS',
  'E_WEIGHTS_VALUE',
  'E_PICKLE_FORBIDDEN',
  'E_HASH',
  'E_TOKENIZER',
  'E_LABEL',
  'E_VOCAB',
  'E_IMAGE_FORMAT',
  'E_IMAGE_CORRUPT',
  'E_IMAGE_SIZE',
  'E_DEVICE',
  'E_DEVICE_LOST',
  'E_OOM',
  'E_MEMORY_PLAN',
  'E_NUMERIC',
  'E_TIMEOUT',
  'E_ABORTED',
  'E_QUEUE_FULL',
  'E_DISPOSED',
  'E_WORKER_LOST',
  'E_DISK',
  'E_CHECKPOINT',
  'E_NETWORK',
  'E_OFFLINE',
  'E_URL_FORBIDDEN',
  'E_RANK',
  'E_INTERNAL',
] as const;

export type ErrorCode = (typeof errorCodes)[number];

export interface ErrorOptions {
  /** Machine-readable facts: op, shapes, dtypes, device, limit, value, keys, ... */
  details?: Readonly<Record<string, unknown>>;
  cause?: unknown;
  /** True when the same call may succeed later without a change (queue full, worker lost, network). */
  retryable?: boolean;
}

const retryableCodes: ReadonlySet<ErrorCode> = new Set([
  'E_QUEUE_FULL',
  'E_WORKER_LOST',
  'E_NETWORK',
  'E_TIMEOUT',
  'E_OOM',
]);

export class WordmaskError extends Error {
  override readonly name = 'WordmaskError';
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;
  readonly retryable: boolean;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
    this.retryable = options.retryable ?? retryableCodes.has(code);
  }
}

export function isWordmaskError(value: unknown): value is WordmaskError {
  return value instanceof WordmaskError;
}

/** Shows a user's value in a message: short, quoted, with its type where the text alone would mislead. */
export function show(value: unknown, limit = 80): string {
  let text: string;
  if (typeof value === 'string') text = JSON.stringify(value);
  else if (typeof value === 'bigint') text = `${value}n`;
  else if (typeof value === 'function') text = `function ${value.name || '(anonymous)'}`;
  else if (typeof value === 'object' && value !== null) text = describeObject(value);
  else text = String(value);
  return text.length > limit ? `${text.slice(0, limit - 1)}…` : text;
}

function describeObject(value: object): string {
  if (ArrayBuffer.isView(value)) return `${value.constructor.name}(${value.byteLength} bytes)`;
  if (Array.isArray(value))
    return `[${value
      .slice(0, 8)
      .map((item) => show(item, 24))
      .join(', ')}${value.length > 8 ? ', …' : ''}]`;
  return value.constructor?.name && value.constructor.name !== 'Object' ? value.constructor.name : 'object';
}
