/** Boundary scores of an evaluation against the accumulator that works on maps, and over shards. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { Boundary, type EvalReport, evaluate } from 'wordmask/eval';
import { pictureEdges } from '#lib/eval/edges.js';
import { mergeReports } from '#lib/eval/merge.js';
import { readPng } from '#lib/image/png.js';
import { open } from '#lib/pipelines/open.js';
import { sceneSet } from '../helpers/eval.js';

const model = await open('tiny', { device: 'cpu' });
t.teardown(() => model.dispose());
const classes = 34;
const shape = [40, 48];

t.test('a run that is asked for them', async (t) => {
  const folder = t.testdir();
  const dataset = sceneSet(5);
  const report = await evaluate({ model, dataset, boundary: true, savePredictions: folder });
  const expected = new Boundary({ numClasses: classes, ignore: 255 });
  for (const [i, item] of dataset.items.entries()) {
    const { data: pred } = await readPng(await readFile(join(folder, report.images[i]?.prediction as string)));
    expected.add({ data: pred, shape }, { data: (await item.label()).data, shape });
  }
  const want = expected.result();
  t.ok(Math.abs((report.metrics.boundaryIoU as number) - want.boundaryIoU) < 1e-12, `${want.boundaryIoU}`);
  t.ok(Math.abs((report.metrics.boundaryF as number) - want.boundaryF) < 1e-10, `${want.boundaryF}`);
  for (const { index, boundaryIoU, boundaryF } of report.perClass) {
    const [iou, f] = [want.iou[index] as number, want.f[index] as number];
    t.ok(Number.isNaN(iou) ? boundaryIoU === null : Math.abs((boundaryIoU as number) - iou) < 1e-12);
    t.ok(Number.isNaN(f) ? boundaryF === null : Math.abs((boundaryF as number) - f) < 1e-10);
  }
  const parts: EvalReport[] = [];
  for (let index = 3; index >= 1; index--)
    parts.push(await evaluate({ model, dataset: sceneSet(5), boundary: true, shard: { index, count: 3 } }));
  const merged = mergeReports(parts);
  t.same(
    [merged.metrics, merged.perClass, merged.edges],
    [report.metrics, report.perClass, report.edges],
    'bit for bit',
  );
  const plain = await evaluate({ model, dataset: sceneSet(5), shard: { index: 3, count: 3 } });
  t.equal(plain.metrics.boundaryIoU, undefined);
  t.throws(() => mergeReports([...parts.slice(1), plain]), { message: /boundary scores/ });
});

t.test('a journal keeps them', async (t) => {
  const journal = join(t.testdir(), 'journal.jsonl');
  let asked = 0;
  const request = { model, dataset: sceneSet(4), boundary: true, journal } as const;
  await t.rejects(evaluate({ ...request, stopped: () => ++asked > 2 }), { code: 'E_ABORTED' });
  const resumed = await evaluate({ ...request, resume: true });
  t.same(resumed.metrics, (await evaluate({ model, dataset: sceneSet(4), boundary: true })).metrics);
  await t.rejects(evaluate({ model, dataset: sceneSet(4), journal, resume: true }), { code: 'E_USAGE' });
});

t.test('classes without an edge, and pictures that failed', async (t) => {
  const label = new Uint8Array(1920).fill(3);
  const size = { width: 48, height: 40, numClasses: classes, ignore: 255 };
  const whole = await pictureEdges(label, label, size, new Set([3]), new Set([3]));
  t.same([whole.classes, whole.f, whole.pictures], [[3], [2 ** 40], [1]], 'it fills the picture in both');
  const missed = await pictureEdges(new Uint16Array(1920).fill(65_535), label, size, new Set([3]), new Set([classes]));
  t.same([missed.shared, missed.f, missed.pictures], [[0], [0], [1]], 'nothing of it was found');
  t.ok((missed.joint[0] as number) > 0);
});
