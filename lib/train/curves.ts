/** Curves of a run as inline SVG. */
import { escapeXml } from '../util/xml.js';

export interface Curve {
  readonly title: string;
  /** Step and value; what is not finite leaves a gap. */
  readonly points: readonly (readonly [step: number, value: number])[];
  readonly logarithmic?: boolean;
}

const [width, height] = [520, 220];
const margin = { left: 56, right: 12, top: 12, bottom: 28 };
const mostPoints = 500;

/** A figure with its title; nothing where there is no value at all. */
export function curveFigure({ title, points, logarithmic }: Curve): string {
  const shown = thin(points.filter(([, value]) => Number.isFinite(value) && (!logarithmic || value > 0)));
  if (shown.length === 0) return '';
  const scale = (value: number): number => (logarithmic ? Math.log10(value) : value);
  const [x0, x1] = range(shown.map(([step]) => step));
  const [y0, y1] = range(shown.map(([, value]) => scale(value)));
  const x = (step: number): number => margin.left + ((step - x0) / (x1 - x0)) * (width - margin.left - margin.right);
  const y = (value: number): number =>
    height - margin.bottom - ((value - y0) / (y1 - y0)) * (height - margin.top - margin.bottom);
  const grid = ticks(y0, y1).map((tick) => {
    const at = y(tick).toFixed(1);
    const label = numberText(logarithmic ? 10 ** tick : tick);
    return `<line x1="${margin.left}" x2="${width - margin.right}" y1="${at}" y2="${at}" class="grid"/><text x="${margin.left - 6}" y="${at}" dy="0.32em" text-anchor="end">${label}</text>`;
  });
  const steps = ticks(x0, x1).map(
    (tick) => `<text x="${x(tick).toFixed(1)}" y="${height - 8}" text-anchor="middle">${numberText(tick)}</text>`,
  );
  const path = shown.map(
    ([step, value], i) => `${i === 0 ? 'M' : 'L'}${x(step).toFixed(1)} ${y(scale(value)).toFixed(1)}`,
  );
  return `<figure><figcaption>${escapeXml(title)}</figcaption><svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeXml(title)}">${grid.join('')}${steps.join('')}<path d="${path.join('')}" class="curve"/></svg></figure>`;
}

/** At most 500 points: means of neighbours. */
function thin(points: readonly (readonly [number, number])[]): (readonly [number, number])[] {
  if (points.length <= mostPoints) return [...points];
  const size = Math.ceil(points.length / mostPoints);
  const mean = (part: readonly (readonly [number, number])[], i: 0 | 1): number =>
    part.reduce((sum, point) => sum + point[i], 0) / part.length;
  return Array.from({ length: Math.ceil(points.length / size) }, (_, i) => {
    const part = points.slice(i * size, (i + 1) * size);
    return [mean(part, 0), mean(part, 1)] as const;
  });
}

function range(values: readonly number[]): [number, number] {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  const spread = high - low || Math.abs(high) || 1;
  return high === low ? [low - spread / 2, high + spread / 2] : [low, high];
}

/** Three to six round numbers between two. */
function ticks(low: number, high: number): number[] {
  const raw = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= raw) ?? 10);
  const found: number[] = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-9; tick += step)
    found.push(Math.abs(tick) < step * 1e-9 ? 0 : tick);
  return found;
}

function numberText(value: number): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(1).replace('e+', 'e') : String(Number(value.toPrecision(4)));
}
