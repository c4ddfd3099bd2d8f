/** Two or more reports side by side: which choices of the protocol differ, and what the figures did. */
import { WordmaskError } from '../util/errors.js';
import { canonicalJson } from '../util/json.js';
import { type JsonValue, protocolKeys } from './protocol.js';
import type { EvalMetrics, EvalReport } from './report-types.js';

export interface ChoiceDifference {
  /** Key of the record, with a dot for what is inside: `window.crop`. */
  readonly key: string;
  /** One a report; null where a report lacks the key. */
  readonly values: readonly JsonValue[];
}

export interface FigureDifference {
  readonly metric: keyof EvalMetrics;
  readonly values: readonly (number | null)[];
  /** Against the first report. */
  readonly differences: readonly (number | null)[];
}

export interface ClassDifference {
  readonly name: string;
  readonly values: readonly (number | null)[];
  readonly difference: number;
}

export interface ReportDiff {
  readonly choices: readonly ChoiceDifference[];
  /** Differences that are no choices of a protocol: model, pictures, version. */
  readonly circumstances: readonly ChoiceDifference[];
  readonly figures: readonly FigureDifference[];
  /** Classes of both (by name) whose IoU changed between the first and the last report, the largest change first. */
  readonly classes: readonly ClassDifference[];
  /** Effects of single choices that can be told apart: reports that differ from another in that choice alone. */
  readonly effects: readonly {
    readonly key: string;
    readonly from: number;
    readonly to: number;
    readonly mIoU: number | null;
  }[];
}

/** @throws E_USAGE for fewer than two reports */
export function diffReports(reports: readonly EvalReport[]): ReportDiff {
  if (reports.length < 2)
    throw new WordmaskError('E_USAGE', `a difference needs at least 2 reports, got ${reports.length}`);
  return {
    choices: differing(reports.map(({ protocol }) => flat(protocol as never, protocolKeys))),
    circumstances: differing(reports.map(circumstances)),
    figures: figuresOf(reports),
    classes: classesOf(reports),
    effects: effectsOf(reports),
  };
}

function circumstances({ provenance, counts, run }: EvalReport): Map<string, JsonValue> {
  const { system, model, wordmask, device, dtype } = provenance;
  const { asked, done, failed, missing } = counts;
  const shards = run.shards && `${run.shards.held.join(',')} of ${run.shards.of}`;
  return new Map(Object.entries({ system, model, wordmask, device, dtype, asked, done, failed, missing, shards }));
}

/** Keys that are one choice, whatever is inside. */
const whole = new Set(['refine']);

/** Leaves of a record by dotted key, lists being leaves. */
function flat(
  value: Readonly<Record<string, JsonValue>>,
  keys: readonly string[],
  prefix = '',
): Map<string, JsonValue> {
  const leaves = new Map<string, JsonValue>();
  for (const key of keys) {
    const part = value[key] as JsonValue;
    if (typeof part === 'object' && part !== null && !Array.isArray(part) && !whole.has(key)) {
      const inner = part as Readonly<Record<string, JsonValue>>;
      for (const [name, leaf] of flat(inner, Object.keys(inner), `${prefix}${key}.`)) leaves.set(name, leaf);
    } else leaves.set(`${prefix}${key}`, part ?? null);
  }
  return leaves;
}

function differing(records: readonly ReadonlyMap<string, JsonValue>[]): ChoiceDifference[] {
  const keys = new Set(records.flatMap((record) => [...record.keys()]));
  return [...keys]
    .map((key) => ({ key, values: records.map((record) => record.get(key) ?? null) }))
    .filter(({ values }) => new Set(values.map((value) => canonicalJson(value))).size > 1);
}

function figuresOf(reports: readonly EvalReport[]): FigureDifference[] {
  const names = new Set(reports.flatMap(({ metrics }) => Object.keys(metrics) as (keyof EvalMetrics)[]));
  return [...names].map((metric) => {
    const values = reports.map(({ metrics }) => metrics[metric] ?? null);
    return { metric, values, differences: values.map((value) => minus(value, values[0] as number | null)) };
  });
}

function minus(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : a - b;
}

function classesOf(reports: readonly EvalReport[]): ClassDifference[] {
  const tables = reports.map(({ perClass }) => new Map(perClass.map(({ name, iou }) => [name, iou])));
  const [first, last] = [tables[0], tables[tables.length - 1]] as [
    Map<string, number | null>,
    Map<string, number | null>,
  ];
  return [...first.keys()]
    .filter((name) => last.has(name))
    .map((name) => ({
      name,
      values: tables.map((table) => table.get(name) ?? null),
      difference: minus(last.get(name) ?? null, first.get(name) ?? null) ?? 0,
    }))
    .filter(({ values }) => new Set(values).size > 1)
    .sort((a, b) => Math.abs(b.difference) - Math.abs(a.difference));
}

/** Pairs of reports that made all choices but one alike: that choice made the difference. */
function effectsOf(reports: readonly EvalReport[]): ReportDiff['effects'] {
  const effects: { key: string; from: number; to: number; mIoU: number | null }[] = [];
  for (let to = 1; to < reports.length; to++) {
    for (let from = 0; from < to; from++) {
      const [a, b] = [reports[from], reports[to]] as [EvalReport, EvalReport];
      if (differing([a, b].map(circumstances)).length > 0) continue;
      const keys = protocolKeys.filter((key) => canonicalJson(a.protocol[key]) !== canonicalJson(b.protocol[key]));
      if (keys.length === 1)
        effects.push({ key: keys[0] as string, from, to, mIoU: minus(b.metrics.mIoU, a.metrics.mIoU) });
    }
  }
  return effects;
}
