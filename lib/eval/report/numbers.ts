/** Figures as reports print them. */

/** Percent with two digits; a dash where there is nothing to score. */
export function percent(share: number | null | undefined, digits = 2): string {
  return share === null || share === undefined || Number.isNaN(share) ? '–' : (100 * share).toFixed(digits);
}

/** Percent points with their sign. */
export function points(difference: number | null | undefined): string {
  if (difference === null || difference === undefined || Number.isNaN(difference)) return '–';
  const text = (100 * Math.abs(difference)).toFixed(2);
  return text === '0.00' ? '±0.00' : `${difference < 0 ? '−' : '+'}${text}`;
}

export function whole(count: number): string {
  return count.toLocaleString('en');
}

export function milliseconds(ms: number): string {
  return ms >= 100 ? whole(Math.round(ms)) : ms.toPrecision(ms >= 10 ? 3 : 2);
}

/** The value below which a share of the values lies; NaN of none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const [low, high] = [sorted[Math.floor(at)] ?? Number.NaN, sorted[Math.ceil(at)] ?? Number.NaN];
  return low + (high - low) * (at - Math.floor(at));
}
