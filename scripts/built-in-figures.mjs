// Quick figures of a CLIP folder on drawn scenes: node scripts/built-in-figures.mjs FOLDER [SCENES]
// Prints one JSON line: retrieval among 100 complete captions, colour of unseen pairs, mIoU of 34 names by system.
import { resolve } from 'node:path';
import { normaliseRows } from '../dist/backbones/clip/index.js';
import {
  caption,
  drawScenes,
  isHeldOut,
  sceneClasses,
  splitSeeds,
  thingColours,
} from '../dist/data/drawn-scenes/index.js';
import { open } from '../dist/entry/index.js';
import { loadBackbone } from '../dist/registry/backbones.js';

const [folder, given] = process.argv.slice(2);
const count = Number(given ?? 100);
const path = resolve(folder);
const model = await loadBackbone(path);
const side = model.config.vision.imageSize;

/** Embeddings of square scenes. */
async function imagesOf(seeds, options) {
  const { images, scenes } = await drawScenes(seeds, { size: side, ...options });
  const length = side * side * 3;
  const pixels = new Float32Array(seeds.length * length);
  // One patch of the whole picture is the picture itself, channel by channel.
  seeds.forEach((_, i) => {
    const one = images.subarray(i * length, (i + 1) * length);
    normaliseRows(one, side, side, Int32Array.of(0), pixels.subarray(i * length, (i + 1) * length));
  });
  const { data, shape } = await model.encodeImage({ data: pixels, shape: [seeds.length, 3, side, side] });
  return { data, width: shape[1], scenes };
}

const dot = (a, i, b, j, width) => {
  let sum = 0;
  for (let k = 0; k < width; k++) sum += a[i * width + k] * b[j * width + k];
  return sum;
};

async function retrieval() {
  const size = Math.max(200, count);
  const { data, width, scenes } = await imagesOf(splitSeeds('test', size));
  const texts = scenes.map((scene) => caption(scene, 0, { mode: 'complete' }).text);
  const text = (await model.encodeText(texts)).data;
  let right = 0;
  for (let i = 0; i < size; i++) {
    const own = dot(data, i, text, i, width);
    let best = true;
    for (let k = 1; k < 100; k++) if (dot(data, i, text, (i + k) % size, width) > own) best = false;
    if (best) right++;
  }
  return right / size;
}

async function colours() {
  const { data, width, scenes } = await imagesOf(splitSeeds('test-composition', Math.max(200, count)));
  let [pairs, pairsRight, cases, best] = [0, 0, 0, 0];
  for (const [i, scene] of scenes.entries()) {
    const { text, nouns } = caption(scene, 0, { mode: 'complete' });
    const noun = nouns.find((n) => n.colour && isHeldOut(n.colour, sceneClasses[n.class]));
    if (!noun) continue;
    const phrase = new RegExp(`\\b${noun.colour}\\b((?: \\w+)? ${noun.word})`);
    if (!phrase.test(text)) continue;
    const all = [noun.colour, ...thingColours.filter((colour) => colour !== noun.colour)];
    const found = (await model.encodeText(all.map((colour) => text.replace(phrase, `${colour}$1`)))).data;
    const scores = all.map((_, k) => dot(data, i, found, k, width));
    for (const other of scores.slice(1)) {
      pairs++;
      if (scores[0] > other) pairsRight++;
    }
    cases++;
    if (scores[0] >= Math.max(...scores)) best++;
  }
  return { cases, pairs: pairsRight / pairs, best: best / cases };
}

async function segmentation(system, options = {}) {
  const opened = await open(path, { system });
  const vocab = await opened.vocabulary([...sceneClasses]);
  const { images, labels, width, height } = await drawScenes(splitSeeds('test', count), {});
  const [hit, drawn, said] = [0, 1, 2].map(() => new Float64Array(sceneClasses.length));
  for (let i = 0; i < count; i++) {
    const data = images.slice(i * width * height * 3, (i + 1) * width * height * 3);
    const result = await opened.segment({ data, width, height, channels: 3 }, vocab, options);
    for (let p = 0; p < width * height; p++) {
      const want = labels[i * width * height + p];
      const got = result.labels[p];
      drawn[want]++;
      said[got]++;
      if (want === got) hit[want]++;
    }
  }
  await opened.dispose();
  const iou = sceneClasses.map((_, c) => hit[c] / Math.max(1, drawn[c] + said[c] - hit[c]));
  const mean = (list) => Number(((100 * list.reduce((a, b) => a + b, 0)) / list.length).toFixed(1));
  return { mIoU: mean(iou), stuff: mean(iou.slice(0, 10)), things: mean(iou.slice(10)) };
}

const round = (x) => Number((100 * x).toFixed(1));
const colour = await colours();
const figures = {
  retrieval: round(await retrieval()),
  colour: { pairs: round(colour.pairs), best: round(colour.best), cases: colour.cases },
};
const variants = process.env.FIGURES ? JSON.parse(process.env.FIGURES) : [['clip'], ['maskclip'], ['naclip']];
for (const [system, options = {}] of variants)
  figures[[system, ...Object.entries(options).map(([k, v]) => `${k}=${v}`)].join(' ')] = await segmentation(
    system,
    options,
  );
console.log(JSON.stringify({ scenes: count, ...figures }));
model.dispose();
