/** The progress line on stderr: a bar, images a second, time left. Only on a terminal, never in CI. */
import type { Output } from './output.js';

const barWidth = 24;
const redrawMs = 100;

export class Progress {
  readonly #shown: boolean;
  readonly #started = performance.now();
  #last = 0;
  #drawn = false;
  #done = 0;

  constructor(
    private readonly output: Output,
    private readonly total: number,
    private readonly unit = 'images',
  ) {
    this.#shown = process.stderr.isTTY === true && !output.quiet && !process.env.CI && process.env.TERM !== 'dumb';
    if (this.#shown) output.clear = () => this.#clear();
  }

  update(done: number, label = ''): void {
    this.#done = done;
    const now = performance.now();
    if (!this.#shown || (now - this.#last < redrawMs && done < this.total)) return;
    this.#last = now;
    const line = progressLine(done, this.total, (now - this.#started) / 1000, this.unit, label);
    process.stderr.write(`\r${line.slice(0, (process.stderr.columns || 80) - 1)}\x1b[K`);
    this.#drawn = true;
  }

  step(label = ''): void {
    this.update(this.#done + 1, label);
  }

  end(): void {
    this.#clear();
    this.output.clear = () => undefined;
  }

  #clear(): void {
    if (this.#drawn) process.stderr.write('\r\x1b[K');
    this.#drawn = false;
  }
}

/** `[######------] 12/200  3.4 images/s  55 s left  photo.jpg` */
export function progressLine(done: number, total: number, seconds: number, unit: string, label: string): string {
  const share = total > 0 ? Math.min(1, done / total) : 0;
  const filled = Math.round(share * barWidth);
  const parts = [`[${'#'.repeat(filled)}${'-'.repeat(barWidth - filled)}] ${done}/${total}`];
  if (done > 0 && seconds > 0) {
    const rate = done / seconds;
    parts.push(`${rate >= 10 ? rate.toFixed(0) : rate.toPrecision(2)} ${unit}/s`);
    if (done < total) parts.push(`${duration((total - done) / rate)} left`);
  }
  return [...parts, label].filter((part) => part !== '').join('  ');
}

/** `41 s`, `3 min 5 s`, `2 h 10 min`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
