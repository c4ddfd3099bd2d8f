/** How a read-out cuts rows and queries, so that what it holds stays within the budget. */
import type { ReadOutSettings } from './read-out.js';

/** How rows and queries are cut. */
export interface Bands {
  readonly rows: number;
  /** Rows beyond a band that PAMR looks at. */
  readonly halo: number;
  /** Queries at once. */
  readonly chunk: number;
}

/** A band's state: small enough that its planes reach the host in short pieces, large enough that calls cost nothing. */
export const bandBytes = 64 << 20;
/** With PAMR a band carries a halo, so it is worth more. */
const refinedBandBytes = 384 << 20;
/** Upsampled, refined and cut volumes of one query. */
export const volumePlanes = 3;
/** What the PAMR kernel takes for affinities and planes of a tile at most (native/cpu/crf/pamr.cpp). */
export const pamrScratch = 240 << 20;
/** Fewer rows are not worth a call. */
const leastRows = 16;

/** Planes of a running best (native/cpu/window/score_state.h). */
export function statePlanes({ outputs }: { readonly outputs: { readonly topk: number } }): number {
  return 6 + 2 * outputs.topk;
}

/** Bands and chunks within the budget. They change no bit of the result. */
export function bandsOf(settings: ReadOutSettings, width: number, height: number, mapBytes: number): Bands {
  const { refine, budget, tileRows } = settings;
  const queriesOfMaps = Math.max(1, Math.floor(budget / 4 / Math.max(1, mapBytes)));
  const stateRow = width * 4 * statePlanes(settings);
  const atLeast = (rows: number) => Math.min(height, Math.max(leastRows, Math.floor(rows)));
  if (refine.kind !== 'pamr')
    return { rows: tileRows ?? atLeast(Math.min(budget / 2, bandBytes) / stateRow), halo: 0, chunk: queriesOfMaps };
  const halo = refine.steps * Math.max(...refine.dilations);
  const room = Math.min(budget / 2, refinedBandBytes);
  const volumeRow = width * 4 * volumePlanes;
  // The guide is as large as one query's volumes. Two queries a call share one affinity; more matter less than tall bands.
  const rows = tileRows ?? atLeast((room - 2 * halo * 3 * volumeRow) / (stateRow + 3 * volumeRow));
  const extent = Math.min(height, rows + 2 * halo);
  const chunk = Math.max(1, Math.floor((room - rows * stateRow) / (extent * volumeRow)) - 1);
  return { rows, halo, chunk: Math.min(chunk, queriesOfMaps) };
}
