/** evaluate(): counting, failures, journal, shards, merging and comparing. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { type EvalReport, evaluate } from 'wordmask/eval';
import type { EvalDataset } from '#lib/data/dataset.js';
import { diffReports } from '#lib/eval/diff.js';
import { mergeReports } from '#lib/eval/merge.js';
import { protocolHash } from '#lib/eval/protocol.js';
import { readReport, writeReport } from '#lib/eval/report-file.js';
import { open } from '#lib/pipelines/open.js';
import { WordmaskError } from '#lib/util/errors.js';
import { sceneSet } from '../helpers/eval.js';

const model = await open('tiny', { device: 'cpu' });
t.teardown(() => model.dispose());

const plain = (report: EvalReport) => {
  const { run: _, ...found } = JSON.parse(JSON.stringify(report)) as EvalReport;
  return found;
};

/** A data set whose picture number `bad` cannot be read; `label`: nor can its label. */
function withDamage(dataset: EvalDataset, bad: number, label = false): EvalDataset {
  const damaged = async (): Promise<never> => {
    throw new WordmaskError('E_IMAGE_CORRUPT', 'the file ends early');
  };
  const items = dataset.items.map((item, i) =>
    i === bad ? { ...item, picture: damaged, ...(label && { label: damaged }) } : item,
  );
  return { ...dataset, items };
}

const whole = await evaluate({ model, dataset: sceneSet(9) });

t.test('a report holds scores, counts, pictures and the whole protocol', async (t) => {
  t.match(whole.counts, { items: 9, asked: 9, done: 9, failed: 0, uncounted: 0, missing: 0, validPixels: 9 * 48 * 40 });
  t.equal(
    whole.images.reduce((sum, { correct }) => sum + correct, 0),
    whole.counts.correctPixels,
  );
  t.equal(whole.metrics.pixelAccuracy, whole.counts.correctPixels / whole.counts.validPixels);
  t.ok((whole.metrics.mIoU as number) > 0.2, 'the built-in model knows these scenes');
  t.equal(whole.protocolHash, protocolHash(whole.protocol));
  t.same(Object.keys(whole.protocol).length, 18);
  t.equal(
    whole.perClass.reduce((sum, { labelArea }) => sum + labelArea, 0),
    whole.counts.validPixels,
  );
  for (const stage of ['decode', 'encode', 'label', 'count']) t.ok(whole.run.stages[stage] !== undefined, stage);
  t.equal(whole.run.timings.length, 9);
});

t.test('7 shards, in any order, are one pass bit for bit', async (t) => {
  const parts: EvalReport[] = [];
  for (let index = 1; index <= 7; index++)
    parts.unshift(await evaluate({ model, dataset: sceneSet(9), shard: { index, count: 7 } }));
  t.same(plain(mergeReports(parts)), plain(whole));
  const two = mergeReports(parts.slice(0, 2));
  t.same(plain(mergeReports([mergeReports(parts.slice(2)), two])), plain(whole), 'merged in two steps');
  t.same(two.run.shards, { held: [6, 7], of: 7 });
  t.throws(() => mergeReports([parts[0] as EvalReport, two]), { code: 'E_USAGE', message: /more than one report/ });
  const other = await evaluate({
    model,
    dataset: sceneSet(9),
    shard: { index: 1, count: 7 },
    protocol: { refine: 'none' },
  });
  t.throws(() => mergeReports([other, two]), { code: 'E_USAGE', message: /another protocol.*eval diff/ });
  const set = sceneSet(9, { name: 'camvid' });
  t.throws(
    () =>
      mergeReports([{ ...other, protocolHash: two.protocolHash, dataset: { ...other.dataset, name: set.name } }, two]),
    {
      message: /another data set/,
    },
  );
  t.throws(() => mergeReports([]), { code: 'E_USAGE' });
});

t.test('a picture that fails stops the run, or stays in the denominator', async (t) => {
  await t.rejects(evaluate({ model, dataset: withDamage(sceneSet(4), 2) }), { code: 'E_IMAGE_CORRUPT' });
  const good = await evaluate({ model, dataset: sceneSet(4) });
  const skipped = await evaluate({ model, dataset: withDamage(sceneSet(4), 2), onError: 'skip' });
  t.match(skipped.counts, { asked: 4, done: 3, failed: 1, uncounted: 0 });
  t.equal(skipped.counts.validPixels, good.counts.validPixels, 'its pixels count');
  t.equal(skipped.counts.correctPixels, good.counts.correctPixels - (good.images[2]?.correct as number), 'as wrong');
  t.match(skipped.images[2], { status: 'failed', code: 'E_IMAGE_CORRUPT', correct: 0 });
  t.equal(skipped.metricsWithoutFailed?.pixelAccuracy, skipped.counts.correctPixels / (3 * 48 * 40));
  t.ok(skipped.warnings.some((text) => /1 picture failed/.test(text)));
  const lost = await evaluate({ model, dataset: withDamage(sceneSet(4), 2, true), onError: 'skip' });
  t.match(lost.counts, { failed: 1, uncounted: 1, validPixels: 3 * 48 * 40 });
});

t.test('labels of another size and of values outside the classes', async (t) => {
  const small = sceneSet(2);
  const label = async () => ({ width: 2, height: 2, data: new Uint8Array(4) });
  const wrong = { ...small, items: small.items.map((item) => ({ ...item, label })) };
  await t.rejects(evaluate({ model, dataset: wrong }), { code: 'E_IMAGE_SIZE', message: /2 x 2.*48 x 40/ });
  const odd = async () => ({ width: 48, height: 40, data: new Uint8Array(48 * 40).fill(77) });
  const outside = { ...small, items: small.items.map((item) => ({ ...item, label: odd })) };
  await t.rejects(evaluate({ model, dataset: outside }), { code: 'E_IMAGE_CORRUPT', message: /1920 pixels.*77/ });
});

t.test('a stopped run goes on from its journal to the same report', async (t) => {
  const journal = join(t.testdir(), 'journal.jsonl');
  let asked = 0;
  const first = evaluate({ model, dataset: sceneSet(9), journal, stopped: () => ++asked > 4 });
  await t.rejects(first, { code: 'E_ABORTED', details: { done: 4, left: 5 } });
  const lines = await readFile(journal, 'utf8');
  t.equal(lines.trim().split('\n').length, 5);
  await writeFile(journal, lines.slice(0, -9), 'utf8');
  let drawn = 0;
  const dataset = sceneSet(9);
  const items = dataset.items.map((item) => ({
    ...item,
    picture: () => {
      drawn++;
      return (item.picture as NonNullable<typeof item.picture>)();
    },
  }));
  const second = await evaluate({ model, dataset: { ...dataset, items }, journal, resume: true });
  t.equal(drawn, 6, 'three were whole in the journal');
  t.equal(second.run.resumed, 3);
  t.same(plain(second), plain(whole));
  await t.rejects(evaluate({ model, dataset: sceneSet(9), journal, resume: true, limit: 3 }), {
    code: 'E_USAGE',
    message: /other settings/,
  });
  await writeFile(journal, `${(await readFile(journal, 'utf8')).split('\n')[0]}\nnonsense\n{}\n`);
  await t.rejects(evaluate({ model, dataset: sceneSet(9), journal, resume: true }), { message: /line 2 is no record/ });
});

t.test('reports are read back, and changed ones refused', async (t) => {
  const file = join(t.testdir(), 'report.json');
  await writeReport(file, whole);
  t.same(plain(await readReport(file)), plain(whole));
  const changed = { ...whole, protocol: { ...whole.protocol, absent: 'skip' } };
  await writeFile(file, JSON.stringify(changed));
  await t.rejects(readReport(file), { code: 'E_HASH' });
  await writeFile(file, JSON.stringify({ ...whole, confusion: { ...whole.confusion, cells: [1e9] } }));
  await t.rejects(readReport(file), { code: 'E_USAGE', message: /confusion/ });
  await writeFile(file, '[]');
  await t.rejects(readReport(file), { code: 'E_USAGE', message: /no report/ });
});

t.test('what two reports chose differently', async (t) => {
  const other = await evaluate({ model, dataset: sceneSet(9), protocol: { refine: 'none' } });
  const diff = diffReports([whole, other]);
  t.same(
    diff.choices.map(({ key }) => key),
    ['refine'],
  );
  t.same(diff.circumstances, []);
  t.equal(diff.effects.length, 1);
  t.equal(diff.effects[0]?.mIoU, (other.metrics.mIoU as number) - (whole.metrics.mIoU as number));
  t.same(diffReports([whole, whole]).choices, []);
  t.throws(() => diffReports([whole]), { code: 'E_USAGE' });
});

t.test('wrong options', async (t) => {
  const dataset = sceneSet(2);
  const wrong = (options: object, expected: { code?: string; message?: string | RegExp }) =>
    t.rejects(evaluate({ model, dataset, ...options }), expected as Error);
  await wrong({ task: 'panoptic' }, { code: 'E_OPTION', message: /panoptic/ });
  await wrong({ limit: 0 }, { code: 'E_OPTION' });
  await wrong({ shard: { index: 3, count: 2 } }, { code: 'E_OPTION' });
  await wrong({ shard: { index: 3, count: 3 } }, { code: 'E_OPTION', message: /no picture is left/ });
  await wrong({ onError: 'continue' }, { code: 'E_OPTION' });
  await wrong({ resume: true }, { code: 'E_OPTION', message: /journal/ });
  await wrong({ dataset: undefined }, { code: 'E_USAGE', message: /needs a data set/ });
  await wrong({ dataset: 'voc22' }, { code: 'E_OPTION', message: /did you mean/ });
  await wrong({ dataset: { name: 'voc21' } }, { code: 'E_USAGE' });
  await wrong({ model: 'tiny' }, { code: 'E_USAGE', message: /opened model/ });
  const stop = new AbortController();
  stop.abort(new Error('enough'));
  await wrong({ signal: stop.signal }, { message: 'enough' });
  const later = new AbortController();
  const onProgress = () => later.abort(new Error('seen enough'));
  await wrong({ dataset: sceneSet(9), signal: later.signal, onProgress }, { message: 'seen enough' });
  t.ok(await evaluate({ model, dataset }), 'the next run works');
});
