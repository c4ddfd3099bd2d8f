/** Published figures as data. */
import { clearTable, clipFamily, others, textSupervised } from './dense.js';
import { maskSystems } from './masks.js';
import type { PublishedRow } from './row.js';

export type { FigureName, PublishedFigure, PublishedRow, Trust } from './row.js';

/** Every published row of systems that are here or are coming. */
export const publishedRows: readonly PublishedRow[] = [
  ...clipFamily,
  ...clearTable,
  ...textSupervised,
  ...others,
  ...maskSystems,
];
