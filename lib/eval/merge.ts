/** Reports of parts of one evaluation as one: exactly what a single run would have said. */
import { show, WordmaskError } from '../util/errors.js';
import { canonicalJson } from '../util/json.js';
import { countsOf, edgesOf, failedWarning, stageSums } from './build-report.js';
import type { EvalImage, EvalReference, EvalReport, EvalRun } from './report-types.js';
import { Totals } from './totals.js';

/**
 * Joins shards: counts are whole numbers, so the order does not matter and the result is bit for bit that of one pass; only `run`
 * tells how it was made.
 * @throws E_USAGE for reports of different protocols, data sets or models, or that hold a picture twice
 */
export function mergeReports(reports: readonly EvalReport[]): EvalReport {
  const [first, ...rest] = reports;
  if (!first) throw new WordmaskError('E_USAGE', 'mergeReports needs at least one report');
  for (const [i, other] of rest.entries()) refuseOther(first, other, i + 2);
  const parts = reports.flatMap((report) =>
    report.images.map((image, i) => ({ image, timings: report.run.timings[i] ?? null })),
  );
  parts.sort((a, b) => a.image.index - b.image.index);
  refuseTwice(parts.map(({ image }) => image));
  const { protocol, dataset } = first;
  const totals = new Totals(dataset.classes.length);
  for (const report of reports) totals.addReport(report.confusion, report.perClass, report.edges);
  const images = parts.map(({ image }) => image);
  const { reference: _, metricsWithoutFailed: __, ...kept } = first;
  const merged: EvalReport = {
    ...kept,
    metrics: totals.metrics(protocol),
    ...(totals.failures && { metricsWithoutFailed: totals.metrics(protocol, false) }),
    perClass: totals.perClass(protocol, dataset.classes),
    confusion: totals.confusion(),
    ...edgesOf(totals),
    counts: countsOf(images, first.counts),
    images,
    warnings: mergedWarnings(reports, images),
    run: mergedRun(
      reports,
      parts.map(({ timings }) => timings),
    ),
  };
  const reference = mergedReference(first, merged);
  return { ...merged, ...(reference && { reference }) };
}

const identities = [
  ['protocol', ({ protocolHash }: EvalReport) => protocolHash],
  ['data set', ({ dataset, counts }: EvalReport) => canonicalJson([dataset.name, dataset.classes, counts.items])],
  ['model', ({ provenance: p }: EvalReport) => canonicalJson([p.system, p.model, p.dtype, p.vocabulary])],
  ['version of wordmask', ({ provenance }: EvalReport) => provenance.wordmask],
  ['device', ({ provenance }: EvalReport) => provenance.device],
  ['choice of boundary scores', ({ edges }: EvalReport) => edges !== undefined],
  ['limit', ({ run }: EvalReport) => run.limit],
] as const;

function refuseOther(first: EvalReport, other: EvalReport, place: number): void {
  for (const [what, of] of identities) {
    const [mine, theirs] = [of(first), of(other)];
    if (mine === theirs) continue;
    const compare = what === 'protocol' ? ': `wordmask eval diff` says in what' : '';
    throw new WordmaskError(
      'E_USAGE',
      `report ${place} has another ${what} than the first (${show(theirs)}, ${show(mine)}): only parts of one evaluation can be merged${compare}`,
      { details: { what, place } },
    );
  }
  const twice = other.images.find(({ index, id }) =>
    first.images.some((image) => image.index === index && image.id !== id),
  );
  if (twice)
    throw new WordmaskError(
      'E_USAGE',
      `report ${place} calls picture ${twice.index} ${show(twice.id)}, the first report calls it otherwise: they come from different folders`,
    );
}

function refuseTwice(images: readonly EvalImage[]): void {
  const at = images.findIndex((image, i) => image.index === images[i + 1]?.index);
  if (at < 0) return;
  const count = images.filter((image, i) => image.index === images[i + 1]?.index).length;
  throw new WordmaskError(
    'E_USAGE',
    `${count} pictures are in more than one report, the first is ${show(images[at]?.id)}: the parts overlap`,
    { details: { id: images[at]?.id, count } },
  );
}

/** Warnings of all parts, once each; the number of failed pictures is that of the whole. */
function mergedWarnings(reports: readonly EvalReport[], images: readonly EvalImage[]): string[] {
  const failed = images.filter(({ status }) => status === 'failed').length;
  const all = new Set(reports.flatMap(({ warnings }) => warnings.filter((text) => !failedText.test(text))));
  return [...all, ...(failed > 0 ? [failedWarning(failed)] : [])];
}

const failedText = /^\d+ pictures? failed/;

function mergedRun(reports: readonly EvalReport[], timings: EvalRun['timings']): EvalRun {
  const sum = (value: (run: EvalRun) => number): number => reports.reduce((total, { run }) => total + value(run), 0);
  const wallSeconds = sum((run) => run.wallSeconds);
  const resumed = sum((run) => run.resumed);
  const [{ run: first }] = reports as readonly [EvalReport];
  const held = reports.flatMap(({ run }) => run.shards?.held ?? []).sort((a, b) => a - b);
  const of = first.shards?.of;
  const whole = of === undefined || (held.length === of && reports.every(({ run }) => run.shards?.of === of));
  const fresh = timings.length - resumed;
  return {
    ...{ wallSeconds, cpuSeconds: sum((run) => run.cpuSeconds) },
    imagesPerSecond: fresh > 0 ? fresh / wallSeconds : null,
    stages: stageSums(timings),
    timings,
    limit: first.limit,
    shards: whole || of === undefined ? null : { held, of },
    resumed,
    ...(first.predictions !== undefined && { predictions: first.predictions }),
  };
}

function mergedReference({ reference }: EvalReport, merged: EvalReport): EvalReference | undefined {
  if (!reference) return undefined;
  const measured = merged.metrics[reference.metric as keyof EvalReport['metrics']] ?? null;
  const { published } = merged.dataset.source as { published?: number };
  const pictures = published ?? merged.counts.items;
  const { done } = merged.counts;
  const counted = /^\d+ of \d+ pictures$|^part [\d, ]+ of \d+$/;
  const { shards } = merged.run;
  return {
    ...reference,
    difference: measured === null ? null : measured - reference.value,
    caveats: [
      ...reference.caveats.filter((text) => !counted.test(text)),
      ...(done < pictures ? [`${done} of ${pictures} pictures`] : []),
      ...(shards ? [`part ${shards.held.join(', ')} of ${shards.of}`] : []),
    ],
  };
}
