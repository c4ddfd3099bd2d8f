/** Curves of a run as inline SVG: colours come from the page, so that they follow its light or dark scheme. */
import { escapeXml } from './xml.js';

export interface Curve {
  readonly title: string;
  /** Step and value; what is not finite leaves a gap. */
  readonly points: readonly (readonly [step: number, value: number])[];
  /** Drawn over the logarithm where the values span more than a factor of 20. */
  readonly logarithmic?: boolean;
}

const [width, height] = [400, 210];
const plot = { left: 48, right: width - 14, top: 10, bottom: height - 36 };
const mostPoints = 500;
/** A narrower span of values reads better on plain axes, and has few round powers to label. */
const leastLogarithmicSpan = 20;

/** A figure with its title and last value; nothing where there is no value at all. */
export function curveFigure({ title, points, logarithmic }: Curve): string {
  const pieces = unbroken(points);
  const values = pieces.flat().map(([, value]) => value);
  const last = pieces.at(-1)?.at(-1);
  if (last === undefined) return '';
  const [low, high] = range(values);
  const log = logarithmic === true && low > 0 && high / low > leastLogarithmicSpan;
  const scale = (value: number): number => (log ? Math.log10(value) : value);
  const [x0, x1] = range(pieces.flat().map(([step]) => step));
  const [y0, y1] = padded(scale(low), scale(high));
  const x = (step: number): string => (plot.left + ((step - x0) / (x1 - x0)) * (plot.right - plot.left)).toFixed(1);
  const y = (value: number): string =>
    (plot.bottom - ((scale(value) - y0) / (y1 - y0)) * (plot.bottom - plot.top)).toFixed(1);
  const rows = (log ? powers(low, high) : ticks(y0, y1)).map(
    (tick) =>
      `<line class="grid" x1="${plot.left}" x2="${plot.right}" y1="${y(tick)}" y2="${y(tick)}"/><text x="${plot.left - 6}" y="${y(tick)}" dy="0.35em" text-anchor="end">${numberText(tick)}</text>`,
  );
  const steps = ticks(x0, x1)
    .filter(Number.isInteger)
    .map(
      (tick) =>
        `<line class="axis" x1="${x(tick)}" x2="${x(tick)}" y1="${plot.bottom}" y2="${plot.bottom + 4}"/><text x="${x(tick)}" y="${plot.bottom + 17}" text-anchor="middle">${numberText(tick)}</text>`,
    );
  const lines = pieces.map(
    (piece) => `<path class="curve" d="M${piece.map(([step, value]) => `${x(step)} ${y(value)}`).join('L')}"/>`,
  );
  const name = `${title}${log ? ' (logarithmic)' : ''}`;
  return `<figure><figcaption><span>${escapeXml(name)}</span><b>${numberText(last[1])}</b></figcaption><svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeXml(`${name}, from ${numberText(values[0] as number)} to ${numberText(last[1])}`)}">${rows.join('')}<line class="axis" x1="${plot.left}" x2="${plot.right}" y1="${plot.bottom}" y2="${plot.bottom}"/>${steps.join('')}<text x="${(plot.left + plot.right) / 2}" y="${height - 4}" text-anchor="middle">step</text>${lines.join('')}<circle class="last" cx="${x(last[0])}" cy="${y(last[1])}" r="3"/></svg></figure>`;
}

type Points = (readonly [step: number, value: number])[];

/** Runs of finite values, thinned to 500 points in all by means of neighbours. */
function unbroken(points: Curve['points']): Points[] {
  const size = Math.ceil(points.length / mostPoints);
  const pieces: Points[] = [];
  let before = false;
  for (const point of points) {
    const finite = Number.isFinite(point[1]);
    if (finite && !before) pieces.push([]);
    if (finite) pieces.at(-1)?.push(point);
    before = finite;
  }
  return pieces.map((piece) =>
    Array.from({ length: Math.ceil(piece.length / size) }, (_, i) => {
      const part = piece.slice(i * size, (i + 1) * size);
      const mean = (axis: 0 | 1): number => part.reduce((sum, point) => sum + point[axis], 0) / part.length;
      return [mean(0), mean(1)] as const;
    }),
  );
}

function range(values: readonly number[]): [number, number] {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  const spread = Math.abs(high) || 1;
  return high === low ? [low - spread / 2, high + spread / 2] : [low, high];
}

/** A little air, so that no curve runs on the frame. */
function padded(low: number, high: number): [number, number] {
  return [low - 0.04 * (high - low), high + 0.04 * (high - low)];
}

/** Two to seven round numbers between two. */
function ticks(low: number, high: number): number[] {
  const raw = (high - low) / 6;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= raw) ?? 10);
  // Counted in steps: sums of a step would drift off the round numbers.
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** Powers of ten and, where these are few, their double and five times. */
function powers(low: number, high: number): number[] {
  const factors = Math.log10(high / low) > 3 ? [1] : [1, 2, 5];
  const first = Math.floor(Math.log10(low));
  const decades = Array.from({ length: Math.ceil(Math.log10(high)) - first + 1 }, (_, i) => first + i);
  return decades
    .flatMap((decade) => factors.map((factor) => Number(`${factor}e${decade}`)))
    .filter((tick) => tick >= low && tick <= high);
}

/** Four to six digits, in as few characters as they need. */
export function numberText(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-4)) return value.toExponential(2).replace(/\.?0*e\+?/, 'e');
  return String(Number(value.toPrecision(size >= 1e4 ? 6 : 4)));
}
