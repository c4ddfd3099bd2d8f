/**
 * What a published row is: each one with the paper, the page of the project's notes it was taken from, its trust, the weights it
 * was made with and the protocol that repeats it. Figures are percent here, as papers print them; reports hold fractions.
 */
import type { ProtocolChanges, ProtocolName } from '../protocol.js';

export type Trust = 'read' | 'recollected';
export type FigureName = 'mIoU' | 'mIoUZero' | 'mIoUSkip' | 'seen' | 'unseen' | 'hIoU' | 'PQ' | 'SQ' | 'RQ' | 'AP';

export interface PublishedFigure {
  readonly dataset: string;
  readonly metric: FigureName;
  /** Percent. */
  readonly value: number;
  readonly trust: Trust;
}

export interface PublishedRow {
  /** Unique: system, weights and what is special about it. */
  readonly id: string;
  /** As the paper calls it. */
  readonly row: string;
  readonly system: string;
  /** Weights as `open` takes them where they can be had by a name, else in words. */
  readonly weights: string;
  /** What weights of that kind look like: a run with others is not this row. */
  readonly encoder?: { readonly patch: number; readonly width: number };
  /** What repeats the row: the system's preset for the data set, a protocol, or changes to one. */
  readonly protocol: 'published' | ProtocolName | ProtocolChanges;
  readonly paper: string;
  /** Page and section of the notes, and where they have it from. */
  readonly source: string;
  readonly figures: readonly PublishedFigure[];
  /** Says why a figure is to be taken with care. */
  readonly note?: string;
}

export type Cell = number | readonly [value: number, trust: Trust] | undefined;

/** A table's row: values in the order of `names`; a cell of its own trust says so. */
export function figures(
  names: readonly string[],
  cells: readonly Cell[],
  trust: Trust = 'read',
  metric: FigureName = 'mIoU',
) {
  return names.flatMap((dataset, i): PublishedFigure[] => {
    const cell = cells[i];
    if (cell === undefined) return [];
    const [value, own] = typeof cell === 'number' ? [cell, trust] : cell;
    return [{ dataset, metric, value, trust: own }];
  });
}
