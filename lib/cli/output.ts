/** The two streams of a command: data on stdout, messages on stderr, colours where they are wanted. */
import { WordmaskError } from '../util/errors.js';

export interface OutputOptions {
  readonly json?: boolean;
  readonly jsonl?: boolean;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
}

/** Colour on a stream: NO_COLOR forbids, FORCE_COLOR demands, else terminals outside of CI have it. */
export function wantsColour(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env): boolean {
  if (env.NO_COLOR) return false;
  if (env.FORCE_COLOR !== undefined) return env.FORCE_COLOR !== '0' && env.FORCE_COLOR !== 'false';
  return stream.isTTY === true && env.TERM !== 'dumb' && !env.CI;
}

const styles = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const;
export type Style = keyof typeof styles;

export class Output {
  readonly json: boolean;
  readonly jsonl: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly #colourOut = wantsColour(process.stdout);
  readonly #colourErr = wantsColour(process.stderr);
  /** Called before a message, so that a progress line makes room for it. */
  clear: () => void = () => undefined;

  constructor(options: OutputOptions = {}) {
    if (options.json && options.jsonl) throw new WordmaskError('E_USAGE', 'give --json or --jsonl, not both');
    if (options.quiet && options.verbose) throw new WordmaskError('E_USAGE', 'give --quiet or --verbose, not both');
    this.json = options.json ?? false;
    this.jsonl = options.jsonl ?? false;
    this.quiet = options.quiet ?? false;
    this.verbose = options.verbose ?? false;
  }

  /** True where people read stdout. */
  get plain(): boolean {
    return !this.json && !this.jsonl;
  }

  /** A line of data. */
  line(text: string): void {
    this.clear();
    process.stdout.write(`${text}\n`);
  }

  /** One value as JSON: readable with `--json`, a line with `--jsonl`. */
  value(value: unknown): void {
    this.line(JSON.stringify(value, null, this.jsonl ? undefined : 2));
  }

  /** A message, unless `--quiet`. */
  note(text: string): void {
    if (!this.quiet) this.#message(text);
  }

  /** A message with `--verbose`. */
  detail(text: string): void {
    if (this.verbose) this.#message(this.errStyle('dim', text));
  }

  warn(text: string): void {
    if (!this.quiet) this.#message(`${this.errStyle('yellow', 'warning:')} ${text}`);
  }

  /** A failure: readable block, or one JSON line with `--json` and `--jsonl`. Shown even with `--quiet`. */
  error(error: unknown, more: Record<string, unknown> = {}): void {
    this.#message(this.plain ? this.#errorBlock(error, more) : JSON.stringify({ error: errorRecord(error), ...more }));
  }

  style(style: Style, text: string): string {
    return this.#colourOut ? paint(style, text) : text;
  }

  errStyle(style: Style, text: string): string {
    return this.#colourErr ? paint(style, text) : text;
  }

  /** A patch of the colour, for legends. */
  swatch(colour: readonly [number, number, number] | undefined): string {
    return this.#colourOut && colour ? `\x1b[38;2;${colour.join(';')}m\u2588\u2588\x1b[0m ` : '';
  }

  #message(text: string): void {
    this.clear();
    process.stderr.write(`${text}\n`);
  }

  #errorBlock(error: unknown, more: Record<string, unknown>): string {
    const { code, message } = errorRecord(error);
    const lines = [`${this.errStyle('red', `error ${code}`)}: ${message}`];
    for (const [key, value] of Object.entries(more)) lines.push(`  ${key}: ${String(value)}`);
    if (code === 'E_INTERNAL')
      lines.push(
        '  This is a bug of wordmask. Please report it with the file that this writes: wordmask doctor --bundle report.json',
      );
    if (this.verbose && error instanceof Error) {
      if (error instanceof WordmaskError && Object.keys(error.details).length > 0)
        lines.push(`  details: ${safeJson(error.details)}`);
      if (error.stack) lines.push(this.errStyle('dim', error.stack));
    }
    return lines.join('\n');
  }
}

function paint(style: Style, text: string): string {
  return `\x1b[${styles[style]}m${text}\x1b[0m`;
}

/** An error as plain data; what is not ours is E_INTERNAL. */
export function errorRecord(error: unknown): {
  code: string;
  message: string;
  retryable: boolean;
  details: Readonly<Record<string, unknown>>;
} {
  if (error instanceof WordmaskError) {
    const { code, message, retryable, details } = error;
    return { code, message, retryable, details: JSON.parse(safeJson(details)) };
  }
  return { code: 'E_INTERNAL', message: (error as Error)?.message ?? String(error), retryable: false, details: {} };
}

function safeJson(value: unknown): string {
  try {
    return JSON.stringify(value, (_, item) => (typeof item === 'bigint' ? String(item) : item)) ?? '{}';
  } catch {
    return '{}';
  }
}

/** `1 image`, `2 images`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

/** Columns padded to their widest cell; `right` names the columns of numbers. */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  return rows.map((row) =>
    row
      .map((cell, i) => (right.includes(i) ? cell.padStart(widths[i] as number) : cell.padEnd(widths[i] as number)))
      .join('  ')
      .trimEnd(),
  );
}
