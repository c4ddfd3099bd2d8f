/** The report as a page and as Markdown: what it says, what it must never do. */
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { EvalDataset } from '#lib/data/dataset.js';
import { evaluate } from '#lib/eval/evaluate.js';
import { checkReportFile, renderReport, reportMarkdown, writeReportFile } from '#lib/eval/report/index.js';
import { choosePictures, reportPictures } from '#lib/eval/report/pictures.js';
import { worstPairs } from '#lib/eval/report/rows.js';
import type { EvalReport } from '#lib/eval/report-types.js';
import { sniffImage } from '#lib/image/sniff.js';
import { open } from '#lib/pipelines/open.js';
import { sceneSet } from '../helpers/eval.js';
import { sampleReport } from './sample-report.js';

const hostile = [
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(2)>',
  "a'b|c\n# head [x](javascript:alert(3))",
  '\u202egnp.evil',
  '\ud800 lone',
  '</style><style>*{display:none}',
];

/** Tags and their attributes, as a browser's parser would find them in text that is escaped right. */
const tagsOf = (html: string): string[] => [...html.matchAll(/<[a-z!/][^>]*>/gi)].map((match) => match[0]);

t.test('nothing of others becomes markup, nothing is loaded', async (t) => {
  const report = sampleReport({ classes: [...hostile, 'sky'], failed: 3 });
  const images = report.images.map((image, i) => ({
    ...image,
    id: hostile[i % hostile.length] as string,
    message: hostile[0],
  }));
  const nasty = {
    ...report,
    images,
    warnings: hostile,
    dataset: { ...report.dataset, name: hostile[1], source: { images: `/data/${hostile[0]}` } },
    reference: { ...report.reference, row: hostile[0], source: hostile[1], caveats: hostile },
  } as EvalReport;
  const html = renderReport(nasty, {
    title: hostile[5],
    pictures: [
      {
        ...{ group: 'best', id: hostile[1] as string, mIoU: 0.5, right: 0.5 },
        parts: [{ title: hostile[0] as string, bytes: Uint8Array.of(1, 2), type: 'image/webp' }],
        legend: [{ name: hostile[0] as string, colour: [1, 2, 3] }],
      },
    ],
  });
  const plain = renderReport(sampleReport({ classes: ['sky'] }));
  const names = (page: string): Set<string> =>
    new Set(tagsOf(page).map((tag) => /^<\/?([a-z!]+\d?)/i.exec(tag)?.[1] ?? ''));
  const allowed = new Set([...names(plain), 'div', 'figcaption', 'figure', 'i', 'img', 'ul', 'li', 'p']);
  t.same(
    [...names(html)].filter((name) => !allowed.has(name)),
    [],
    'no tag of others',
  );
  t.equal(html.match(/<script>/g)?.length, 1, 'the one script is ours');
  t.equal(html.match(/<style>/g)?.length, 1);
  const bare = tagsOf(html).map((tag) => tag.replace(/"[^"]*"/g, '""'));
  t.same(
    bare.filter((tag) => /\son\w+=/i.test(tag)),
    [],
    'no tag has a handler',
  );
  t.notMatch(html, /\u202e/, 'no name turns the text around');
  t.notMatch(html, '/data/', 'no paths of this machine');
  for (const tag of tagsOf(html)) {
    const link = /\s(?:src|href|srcset|action)="([^"]*)"/.exec(tag)?.[1];
    if (link !== undefined) t.match(link, /^(#|data:)/, tag.slice(0, 60));
  }
  const policy = /Content-Security-Policy" content="([^"]*)"/.exec(html)?.[1] ?? '';
  const script = /<script>([\s\S]*?)<\/script>/.exec(html)?.[1] ?? '';
  t.match(policy, "default-src 'none'");
  t.match(policy, `script-src 'sha256-${createHash('sha256').update(script).digest('base64')}'`);
  const markdown = reportMarkdown(nasty);
  t.notMatch(markdown, /(^|[^\\])<(script|img|style)/);
  t.notMatch(markdown, /(^|[^\\])\]\(/, 'no link');
  t.notMatch(markdown, /^# head/m);
});

t.test('the figures', async (t) => {
  const report = sampleReport({ classes: Array.from({ length: 847 }, (_, i) => `class ${i}`), failed: 2 });
  const html = renderReport(report);
  t.equal(html.match(/<tr><th scope="row">class \d+<\/th>/g)?.length, 847, 'every class has a row');
  t.ok(html.length < 400_000, `${html.length} characters`);
  t.match(html, '2 of 20 pictures failed; all their pixels count as wrong.');
  t.match(
    html,
    /<tr class="main"><th scope="row">mIoU<\/th><td class="n">[\d.]+<\/td>.*64\.07.*<span class="trust">read/,
  );
  t.match(html, 'other weights');
  t.match(html, report.protocolHash);
  t.match(html, 'E_IMAGE_CORRUPT .../scene.png is cut off');
  const recollected = { ...report, reference: { ...report.reference, trust: 'recollected' } } as EvalReport;
  t.match(renderReport(recollected), 'no verdict rests on it');
  const { reference: _, ...without } = report;
  t.match(renderReport(without as EvalReport), 'No published figure is known');
  const pairs = worstPairs(report, 3);
  t.equal(pairs.length, 3);
  t.ok(pairs.every(({ truth, found }) => truth !== found));
  const { cells, counts, shape } = report.confusion;
  const wrong = cells.map((cell, i) => (Math.floor(cell / shape[1]) === cell % shape[1] ? 0 : (counts[i] as number)));
  t.equal(pairs[0]?.pixels, Math.max(...wrong));
  t.equal(pairs[0]?.ofWrong, Math.max(...wrong) / wrong.reduce((a, b) => a + b, 0));
  const markdown = reportMarkdown(report);
  t.match(markdown, /\| mIoU \| [\d.]+ \| [\d.]+ \| 64\.07 \(read\) \| −[\d.]+ \|/);
  t.equal(markdown.match(/^\| class \d+ \|.*pixels/gm), null);
  t.match(markdown, '## Failed pictures');
});

t.test('a report with next to nothing', async (t) => {
  const report = sampleReport({ classes: ['sky'], images: 0 });
  const empty = {
    ...report,
    metrics: { mIoU: null, mIoUZero: null, mIoUSkip: null, fwIoU: null, pixelAccuracy: null, meanAccuracy: null },
    perClass: [{ ...report.perClass[0], iou: null, accuracy: null, labelArea: 0, predictionArea: 0, intersection: 0 }],
    confusion: { shape: [1, 2], cells: [], counts: [] },
    counts: { ...report.counts, validPixels: 0, correctPixels: 0 },
    reference: undefined,
    run: { ...report.run, stages: {}, timings: [], imagesPerSecond: null },
  } as unknown as EvalReport;
  const page = renderReport(empty).replace(/<script>[\s\S]*<\/script>/, '');
  for (const text of [page, reportMarkdown(empty)]) t.notMatch(text, /NaN|undefined|Infinity/);
});

t.test('pictures', async (t) => {
  const report = sampleReport({ classes: ['sky', 'grass'], images: 12, failed: 1 });
  const chosen = choosePictures(report.images, 3);
  t.same(
    chosen.map(({ group }) => group),
    ['best', 'best', 'best', 'median', 'median', 'median', 'worst', 'worst', 'worst'],
  );
  t.equal(new Set(chosen.map(({ image }) => image.id)).size, 9);
  const scores = chosen.map(({ image }) => image.mIoU as number);
  t.ok(Math.min(...scores.slice(0, 3)) >= Math.max(...scores.slice(3)), 'best');
  t.ok(Math.max(...scores.slice(6)) <= Math.min(...scores.slice(0, 6)), 'worst');
  t.same(
    choosePictures(report.images.slice(0, 3), 3).map(({ group }) => group),
    ['best', 'best'],
    'few pictures',
  );
  const [width, height] = [60, 40];
  const plane = { width, height, data: new Uint8Array(width * height).map((_, i) => (i % 7 === 0 ? 255 : i % 2)) };
  const item = (id: string) => ({
    ...{ id, image: id, label: async () => plane },
    picture: async () => ({ width, height, channels: 3 as const, data: new Uint8Array(3 * width * height).fill(90) }),
  });
  const dataset = {
    ignore: 255,
    items: report.images.slice(0, 11).map(({ id }) => item(id)),
  } as unknown as EvalDataset;
  const warnings: string[] = [];
  const onWarn = (message: string): unknown => warnings.push(message);
  const predict = async ({ id }: { id: string }) => {
    if (id === chosen[0]?.image.id) throw new Error('no file');
    return { ...plane, data: plane.data.map((label) => 1 - (label & 1)) };
  };
  const pictures = await reportPictures(report, dataset, predict, { side: 32, onWarn });
  t.equal(pictures.length + warnings.length, 9);
  t.match(warnings[0], /leaves out the picture.*no file/);
  for (const { parts, legend } of pictures) {
    t.same(
      parts.map(({ title }) => title),
      ['picture', 'truth', 'prediction', 'difference'],
    );
    t.ok(parts.every(({ bytes }) => sniffImage(bytes)?.format === 'webp'));
    t.same(legend.map(({ name }) => name).sort(), ['grass', 'sky']);
  }
});

t.test('files', async (t) => {
  const folder = t.testdir();
  const [page, saved, text] = ['again.html', 'saved.html', 'report.md'].map((name) => join(folder, 'out', name)) as [
    string,
    string,
    string,
  ];
  await using model = await open('tiny', { device: 'cpu' });
  const dataset = sceneSet(4);
  const report = await evaluate({ model, dataset, savePredictions: join(folder, 'predictions') });
  const pictures = (html: string): string[] => [...html.matchAll(/src="data:image\/webp;base64,[^"]+"/g)].map(String);
  const { predictions: _, ...run } = report.run;
  await writeReportFile(page, { report: { ...report, run }, dataset, model });
  const again = pictures(await readFile(page, 'utf8'));
  t.equal(again.length, 4 * 4, 'four parts of four pictures');
  await writeReportFile(saved, { report, dataset });
  t.same(pictures(await readFile(saved, 'utf8')), again, 'saved predictions are those of the model');
  await writeFile(join(folder, 'predictions', report.images[1]?.prediction as string), 'another file');
  const warnings: string[] = [];
  const escaping = { ...report.images[2], prediction: '../../secret.png' };
  const images = report.images.map((image, i) => (i === 2 ? escaping : image)) as typeof report.images;
  await writeReportFile(saved, { report: { ...report, images }, dataset, onWarn: (line) => warnings.push(line) });
  t.equal(pictures(await readFile(saved, 'utf8')).length, 2 * 4);
  t.match(warnings.sort(), [/scene-01.*is not the prediction that was counted/, /scene-02.*is not below/]);
  await writeReportFile(text, { report, markdown: ['## More'] });
  t.match(await readFile(text, 'utf8'), /^# drawn-scenes: naclip[\s\S]*## More$/);
  await writeReportFile(page, { report });
  t.same(pictures(await readFile(page, 'utf8')), [], 'no data set, no pictures');
  t.throws(() => checkReportFile('report.pdf'), { code: 'E_OPTION' });
});
