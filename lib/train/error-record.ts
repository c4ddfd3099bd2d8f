/** Errors across threads and into files: plain data, and back. */
import { type ErrorCode, errorCodes, isWordmaskError, WordmaskError } from '../util/errors.js';

export interface ErrorRecord {
  readonly code: string;
  readonly message: string;
}

export function errorRecord(error: unknown): ErrorRecord {
  if (isWordmaskError(error)) return { code: error.code, message: error.message };
  return { code: 'E_INTERNAL', message: error instanceof Error ? error.message : String(error) };
}

export function errorOfRecord({ code, message }: ErrorRecord): WordmaskError {
  return new WordmaskError(
    (errorCodes as readonly string[]).includes(code) ? (code as ErrorCode) : 'E_INTERNAL',
    message,
  );
}
