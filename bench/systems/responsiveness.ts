/**
 * Event-loop delay while pictures are segmented: `node build/ts/bench/systems/responsiveness.js --model DIR [--pictures 8 --width 1500
 * --height 1000 --classes ade150 --only open,segment]` prints one JSON line a case. Delays are those of
 * perf_hooks.monitorEventLoopDelay with a resolution of 1 ms, less that millisecond; `idle` is the same machine with nothing to do.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { open } from '#lib/pipelines/open.js';
import type { SegmentOptions } from '#lib/pipelines/segment-options.js';
import { Vocabulary } from '#lib/pipelines/vocabulary.js';
import { classList } from '#lib/text/index.js';

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: '' },
    pictures: { type: 'string', default: '8' },
    width: { type: 'string', default: '1500' },
    height: { type: 'string', default: '1000' },
    classes: { type: 'string', default: 'ade150' },
    only: { type: 'string', default: '' },
  },
});
const [width, height, pictures] = [Number(values.width), Number(values.height), Number(values.pictures)];
const resolution = 1;

async function watch<T>(name: string, fn: () => Promise<T>, record: Record<string, unknown> = {}): Promise<T> {
  const wanted = values.only === '' || values.only.split(',').some((part) => name.includes(part));
  const histogram = monitorEventLoopDelay({ resolution });
  histogram.enable();
  const started = performance.now();
  const result = await fn();
  const seconds = (performance.now() - started) / 1000;
  // The delay of a turn is recorded when the next one begins.
  await delay(5);
  histogram.disable();
  const ms = (nanoseconds: number) => Math.round(Math.max(0, nanoseconds / 1e6 - resolution) * 10) / 10;
  const line = {
    name: `responsiveness: ${name}`,
    ...record,
    p50: ms(histogram.percentile(50)),
    p99: ms(histogram.percentile(99)),
    max: ms(histogram.max),
    seconds: Math.round(seconds * 100) / 100,
  };
  if (wanted) console.log(JSON.stringify(line));
  return result;
}

function photo(seed: number): Promise<Buffer> {
  const data = Buffer.alloc(width * height * 3);
  for (let i = 0; i < data.length; i++) data[i] = 128 + 100 * Math.sin(i / (90 + seed)) + ((i * 2654435761) >>> 28);
  return sharp(data, { raw: { width, height, channels: 3 } })
    .jpeg()
    .toBuffer();
}

await watch('idle', () => delay(2000));
const model = await watch('open', () => open(`naclip:${values.model}`));
const vocab = Vocabulary.from(classList(values.classes), { templates: 'none' });
const labels = vocab.labels.length;
await watch('vocabulary', () => model.vocabulary(vocab), { labels });
const inputs: Buffer[] = [];
for (let i = 0; i < pictures; i++) inputs.push(await photo(i));
const cases: [string, SegmentOptions][] = [
  ['segment, refine none', { refine: 'none' }],
  ['segment, all planes', { refine: 'none', outputs: ['score', 'margin', 'entropy', 'topk'], minArea: 50 }],
  ['segment, pamr', { refine: { name: 'pamr', steps: 2 } }],
];
for (const [name, options] of cases) {
  await watch(name, () => Promise.all(inputs.map((input) => model.segment(input, vocab, options))), {
    shape: `${pictures} x ${width}x${height}`,
    labels,
  });
}
const result = await model.segment(inputs[0] as Buffer, vocab, { refine: 'none' });
for (const format of ['png', 'voc', 'coco', 'overlay', 'coco-panoptic', 'polygons', 'hf'])
  await watch(`encode ${format}`, () => result.encode(format), { shape: `${width}x${height}` });
await watch('overlay', () => result.overlay());
await model.dispose();
