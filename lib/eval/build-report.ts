/** From the records of pictures to the report. */
import type { EvalDataset } from '../data/dataset.js';
import type { Model } from '../pipelines/model.js';
import { packageVersion } from '../util/version.js';
import type { EvaluateOptions } from './evaluate.js';
import { protocolHash } from './protocol.js';
import { referenceOf } from './reference.js';
import { type EvalImage, type EvalReport, type EvalRun, reportFormat } from './report-types.js';
import type { EvalSetup } from './setup.js';
import type { Totals } from './totals.js';
import type { ScoredPicture } from './work.js';

export interface ReportParts {
  readonly model: Model;
  readonly dataset: EvalDataset;
  readonly setup: EvalSetup;
  /** In the order of the data set. */
  readonly pictures: readonly ScoredPicture[];
  readonly totals: Totals;
  readonly resumed: number;
  readonly options: EvaluateOptions;
  readonly started: { readonly wall: number; readonly cpu: NodeJS.CpuUsage };
}

export function buildReport(parts: ReportParts): EvalReport {
  const { model, dataset, setup, pictures, totals } = parts;
  const { protocol, vocabulary } = setup;
  const { system, hash, device, dtype } = model.info;
  const names = dataset.classes.map(({ name }) => name);
  const images = pictures.map(({ image }) => image);
  const metrics = totals.metrics(protocol);
  const report: Omit<EvalReport, 'reference'> = {
    format: reportFormat,
    dataset: {
      ...{ name: dataset.name, kind: dataset.kind, classes: names },
      colors: dataset.classes.map(({ color }) => color ?? null),
      source: { ...dataset.source },
    },
    protocol,
    protocolHash: protocolHash(protocol),
    metrics,
    ...(totals.failures && { metricsWithoutFailed: totals.metrics(protocol, false) }),
    perClass: totals.perClass(protocol, names),
    confusion: totals.confusion(),
    ...edgesOf(totals),
    counts: countsOf(images, { items: dataset.items.length, missing: dataset.source.missing.length }),
    images,
    warnings: warningsOf(setup, dataset, images),
    provenance: {
      ...{ wordmask: packageVersion, system, model: hash, vocabulary: vocabulary.hash },
      ...{ device: device.replace(/:.*/, ''), dtype, deterministic: true },
    },
    run: runOf(parts),
  };
  const reference = referenceOf(report, model.info, setup);
  return { ...report, ...(reference && { reference }) };
}

export function edgesOf(totals: Totals): Pick<EvalReport, 'edges'> {
  const edges = totals.edges();
  return edges ? { edges } : {};
}

export function countsOf(
  images: readonly EvalImage[],
  { items, missing }: Pick<EvalReport['counts'], 'items' | 'missing'>,
): EvalReport['counts'] {
  const total = (value: (image: EvalImage) => number): number => images.reduce((sum, image) => sum + value(image), 0);
  const done = total(({ status }) => Number(status === 'done'));
  return {
    ...{ items, asked: images.length, done, failed: images.length - done },
    uncounted: total(({ uncounted }) => Number(uncounted ?? false)),
    missing,
    validPixels: total(({ valid }) => valid),
    correctPixels: total(({ correct }) => correct),
  };
}

function warningsOf(setup: EvalSetup, dataset: EvalDataset, images: readonly EvalImage[]): string[] {
  const { missing, published } = dataset.source;
  const failed = images.filter(({ status }) => status === 'failed').length;
  return [
    ...setup.warnings,
    ...(dataset.kind === 'panoptic' ? ['panoptic data: scored by their semantic version'] : []),
    ...(missing.length > 0 ? [`${missing.length} pictures that the list names are not there`] : []),
    ...(failed > 0 ? [failedWarning(failed)] : []),
    ...(published !== undefined && dataset.items.length !== published
      ? [`papers report on ${published} pictures, here are ${dataset.items.length}`]
      : []),
  ];
}

function runOf({ pictures, resumed, options, started }: ReportParts): EvalRun {
  const wallSeconds = (performance.now() - started.wall) / 1000;
  const { user, system } = process.cpuUsage(started.cpu);
  const { limit, shard, savePredictions } = options;
  const fresh = pictures.length - resumed;
  return {
    ...{ wallSeconds, cpuSeconds: (user + system) / 1e6 },
    imagesPerSecond: fresh > 0 ? fresh / wallSeconds : null,
    stages: stageSums(pictures.map(({ timings }) => timings)),
    timings: pictures.map(({ timings }) => timings),
    limit: limit ?? null,
    shards: shard ? { held: [shard.index], of: shard.count } : null,
    resumed,
    ...(savePredictions !== undefined && { predictions: savePredictions }),
  };
}

export function failedWarning(count: number): string {
  return count === 1
    ? '1 picture failed: all pixels of its label count as wrong'
    : `${count} pictures failed: all pixels of their labels count as wrong`;
}

export function stageSums(timings: readonly (Readonly<Record<string, number>> | null)[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const stages of timings)
    for (const [stage, ms] of Object.entries(stages ?? {})) sums[stage] = (sums[stage] ?? 0) + ms;
  return sums;
}
