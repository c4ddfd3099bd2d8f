/** Rows 1 and 2: which caption belongs to a picture, and which colour. Both read the class token against whole captions. */
import {
  type Caption,
  caption,
  type SceneRecord,
  type ThingColour,
  thingColours,
  visibleGroups,
} from '../../data/drawn-scenes/index.js';
import { normaliseImage, scope, Tensor } from '../../engine/index.js';
import type { Model } from '../../pipelines/model.js';
import { Random } from '../../util/random.js';
import { judgeChance } from './judge.js';
import { pictures, type SceneSet, sceneSet, type Watch } from './scenes.js';
import { colourings } from './swap.js';
import { aliases, atLeast, markdown, percent, secondsSince, type Table, type TableRow } from './table.js';

/** Captions among which the right one has to be found. */
const among = 100;

/** Unit embeddings of whole pictures: the class token of the ordinary forward pass. */
export async function imageRows(
  model: Model,
  set: SceneSet,
  watch: Watch,
): Promise<{ rows: Float32Array[]; records: SceneRecord[] }> {
  const options = model.dense.options();
  const rows: Float32Array[] = [];
  const records: SceneRecord[] = [];
  for await (const group of pictures(set, watch)) {
    for (const { image, record } of group) {
      const tokens = await scope(() => {
        const pixels = normaliseImage(
          Tensor.from(image.data, [image.height, image.width, 3], 'u8'),
          Tensor.from(Float32Array.from(options.mean)),
          Tensor.from(Float32Array.from(options.std)),
        );
        return model.dense.parts
          .probe(pixels.reshape(1, ...pixels.shape), options, 'tokens')
          .slice(0, 0, 1)
          .data();
      });
      rows.push(unit(tokens as Float32Array));
      records.push(record);
    }
    watch.onPicture?.(rows.length, set.count);
  }
  return { rows, records };
}

function unit(row: Float32Array): Float32Array {
  const norm = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0)) || 1;
  return row.map((x) => x / norm);
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

function textRows(model: Model, texts: readonly string[]): Promise<Float32Array[]> {
  return model.dense.text.rows(texts, ['{}'], 'normalise-mean-normalise');
}

/** For each scene itself and others, which ones: drawn once, the same for every model. */
export function candidates(count: number, wanted: number, seed = 1): number[][] {
  const random = new Random(seed).fork('candidates');
  return Array.from({ length: count }, (_, i) => {
    const own = random.fork(i);
    const others = new Set<number>();
    while (others.size < Math.min(wanted, count) - 1) {
      const other = own.int(count);
      if (other !== i) others.add(other);
    }
    return [i, ...others];
  });
}

/** Share of pictures whose own text is strictly the most alike of its candidates. */
export function rightShare(
  images: readonly Float32Array[],
  texts: readonly Float32Array[],
  lists: readonly (readonly number[])[],
): number {
  const right = images.filter((image, i) => {
    const [own = 0, ...others] = (lists[i] as readonly number[]).map((k) => dot(image, texts[k] as Float32Array));
    return others.every((other) => own > other);
  });
  return right.length / images.length;
}

/** The scenes at the size of training: a square. */
async function squareSet(table: Table, model: Model, split: 'test' | 'test-composition'): Promise<SceneSet> {
  const { image } = model.info.sizes;
  return sceneSet(split, { width: image, height: image }, table.limit);
}

export const row1: TableRow = {
  row: 1,
  title: 'The right caption among 100',
  about:
    'Zero-shot: test scenes drawn at the training size, the complete caption of each among those of 99 other test scenes; class ' +
    'token against whole captions. The judge knows the scene and picks among the captions that are true of it.',
  async measure(table) {
    for (const alias of aliases) {
      const began = performance.now();
      const model = await table.model(alias, 'clip');
      if (!model) continue;
      const set = await squareSet(table, model, 'test');
      const { rows, records } = await imageRows(model, set, table.watch(1, alias));
      const captions = records.map((record) => caption(record, 0, { mode: 'complete' }));
      const texts = await textRows(
        model,
        captions.map(({ text }) => text),
      );
      const lists = candidates(rows.length, among);
      const judge = records.map((record, i) =>
        judgeChance(
          (lists[i] as number[]).map((k) => captions[k] as Caption),
          record,
        ),
      );
      await table.put({
        row: 1,
        case: alias,
        model,
        name: alias,
        scenes: set,
        options: { captions: lists[0]?.length ?? 0 },
        figures: { right: rightShare(rows, texts, lists), judge: judge.reduce((a, b) => a + b, 0) / judge.length },
        seconds: secondsSince(began),
      });
    }
  },
  render: (view) =>
    markdown(
      ['model', 'right', 'judge of truth', 'captions', 'scenes'],
      view
        .row(1)
        .map(({ case: name, figures, options, scenes }) => [
          name,
          percent(figures.right),
          percent(figures.judge),
          String(options.captions),
          String(scenes.count),
        ]),
    ),
  expectations: (view) => [
    atLeast('`tiny` finds the right caption in at least 85%', view.figure(1, 'tiny', 'right'), 0.85),
  ],
};

/** Right against wrong colours: share of pairs won, and how often the right one is the best of all nine. */
export function colourFigures(
  cosines: readonly (readonly number[])[],
  right: readonly number[],
): {
  pair: number;
  best: number;
} {
  let [won, pairs, best] = [0, 0, 0];
  cosines.forEach((row, i) => {
    const own = row[right[i] as number] as number;
    const others = row.filter((_, c) => c !== right[i]);
    won += others.filter((other) => own > other).length;
    pairs += others.length;
    if (others.every((other) => own > other)) best++;
  });
  return { pair: won / pairs, best: best / cosines.length };
}

export const row2: TableRow = {
  row: 2,
  title: 'Colours in new company',
  about:
    'Split `test-composition`: pairs of colour and thing that no training scene shows. The complete caption with the right colour of ' +
    'its largest thing against the same caption with each of the eight other colours.',
  async measure(table) {
    for (const alias of aliases) {
      const began = performance.now();
      const model = await table.model(alias, 'clip');
      if (!model) continue;
      const set = await squareSet(table, model, 'test-composition');
      const { rows, records } = await imageRows(model, set, table.watch(2, alias));
      const asked = records.flatMap((record, i) => {
        const found = largestColoured(record);
        return found ? [{ image: rows[i] as Float32Array, ...found }] : [];
      });
      const texts = await textRows(
        model,
        asked.flatMap(({ texts }) => texts),
      );
      const cosines = asked.map(({ image }, i) =>
        thingColours.map((_, c) => dot(image, texts[i * thingColours.length + c] as Float32Array)),
      );
      await table.put({
        row: 2,
        case: alias,
        model,
        name: alias,
        scenes: set,
        options: { captions: asked.length },
        figures: colourFigures(
          cosines,
          asked.map(({ colour }) => thingColours.indexOf(colour)),
        ),
        seconds: secondsSince(began),
      });
    }
  },
  render: (view) =>
    markdown(
      ['model', 'right colour against another', 'best of nine', 'captions'],
      view
        .row(2)
        .map(({ case: name, figures, options }) => [
          name,
          percent(figures.pair),
          percent(figures.best),
          String(options.captions),
        ]),
    ),
  expectations: (view) => [
    atLeast('`tiny`: right colour against another in at least 93%', view.figure(2, 'tiny', 'pair'), 0.93),
    atLeast('`tiny`: right colour best of nine in at least 70%', view.figure(2, 'tiny', 'best'), 0.7),
  ],
};

/** The complete caption of a scene in nine colours, and the true one of its largest named thing. */
function largestColoured(record: SceneRecord): { texts: string[]; colour: ThingColour } | undefined {
  const said = caption(record, 0, { mode: 'complete' });
  const area = new Map(
    visibleGroups(record).map(({ class: c, members }) => [c, members.reduce((sum, thing) => sum + thing.area, 0)]),
  );
  const order = said.nouns
    .map((noun, index) => ({ noun, index }))
    .filter(({ noun }) => noun.colour !== undefined)
    .sort((a, b) => (area.get(b.noun.class) ?? 0) - (area.get(a.noun.class) ?? 0));
  const [first] = order;
  if (!first) return undefined;
  const texts = colourings(said, first.index);
  return texts && { texts, colour: first.noun.colour as ThingColour };
}
