/** PnP-OVSS: captions and the spans of their words, without weights. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { registerSystem } from '#lib/entry/index.js';
import type { Model } from '#lib/pipelines/model.js';
import { open } from '#lib/pipelines/open.js';
import { buildCaptions, mergedWord } from '#lib/systems/pnp-ovss/caption.js';
import { classList, loadTokenizer } from '#lib/text/index.js';
import { data, needsData } from '../helpers/data.js';
import { ToyMatching, toySystem } from '../helpers/toy-matching.js';

t.setTimeout(120_000);

const mini = join(import.meta.dirname, '..', '..', '..', '..', 'test', 'fixtures', 'clip-mini');
let systems = 0;

/** PnP-OVSS over a matching model of colours, with small settings. */
async function openToy(model = new ToyMatching(), encoders: Record<string, string> = {}, together = 1): Promise<Model> {
  const name = `pnp-toy-${systems++}`;
  registerSystem(toySystem(name, model, together));
  return open(`${name}:${mini}`, { device: 'cpu', encoders });
}
const small = { imageSize: 32, layer: 1, head: 0, passes: 1, drop: { kind: 'topk', n: 4 }, sigma: 0 } as const;

/** Left third red, middle green, right blue, with a grey border. */
function flag(width = 48, height = 32) {
  const bytes = new Uint8Array(width * height * 3).fill(128);
  for (let y = 8; y < height - 8; y++)
    for (let x = 8; x < width - 8; x++) {
      const colour = Math.floor((3 * x) / width);
      for (let c = 0; c < 3; c++) bytes[(y * width + x) * 3 + c] = c === colour ? 255 : 0;
    }
  return { data: bytes, width, height, channels: 3 as const };
}
const at = (labels: ArrayLike<number>, x: number, y: number, width = 48): number => labels[y * width + x] as number;

t.test('captions', async (t) => {
  const toy = new ToyMatching(12);
  const word = (name: string, target: number) => ({ word: mergedWord(name), target, name });
  t.same(['traffic light', 'building-other', 'chest of drawers', ' a\tb '].map(mergedWord), [
    'trafficlight',
    'buildingother',
    'chestofdrawers',
    'ab',
  ]);
  const captions = buildCaptions(toy, ['cat', 'traffic light', 'dog', 'building-other', 'sky'].map(word));
  t.same(
    captions.map(({ text }) => text),
    ['A picture of cat trafficlight dog', 'A picture of buildingother sky'],
  );
  t.ok(captions.every(({ ids }) => ids.length <= 12));
  t.same(captions[0]?.spans, [
    { target: 0, begin: 4, end: 5 },
    { target: 1, begin: 5, end: 8 },
    { target: 2, begin: 8, end: 9 },
  ]);
  t.throws(() => buildCaptions(toy, [word('antidisestablishmentarianism', 0)]), {
    code: 'E_LABEL',
    message: /7 tokens.*holds 6/,
  });
  t.throws(() => buildCaptions(toy, [word(' - ', 0)]), { code: 'E_LABEL', message: /no letters/ });

  await using model = await openToy(new ToyMatching(11));
  const joined = await model.segment(flag(), ['red', 'green', 'some long label', 'blue'], { ...small, crf: false });
  t.match(joined.warnings, [/into 2, whose maps were joined/]);
  t.same(
    [12, 24, 36].map((x) => at(joined.labels, x, 16)),
    [0, 1, 3],
  );
  const unknown = await model.segment(flag(), ['red', '空'], { ...small, crf: false });
  t.match(unknown.warnings, [/unknown to the model.*"空"$/]);
  t.equal(at(unknown.labels, 8, 16), 0);
  await using wide = await openToy();
  const strange = Array.from({ length: 20 }, (_, i) => `词${i}`);
  const many = await wide.segment(flag(), ['red', ...strange], { ...small, crf: false });
  t.match(many.warnings, [/and 12 more$/], 'one warning for all of them');
  const last = await model.segment(flag(), ['red'], { ...small, layer: 2 });
  t.match(last.warnings, [/last one/]);
  const grey = { data: new Uint8Array(20 * 16 * 3).fill(90), width: 20, height: 16, channels: 3 as const };
  for (const backgroundChannel of ['always', 'fewer-than-3'])
    for (const crf of [{}, false])
      t.ok(
        (await model.segment(grey, ['red', 'green', 'blue'], { ...small, crf, backgroundChannel })).labels.every(
          (x) => x === 255,
        ),
        'maps that are all empty: all background',
      );
});

t.test('spans restore the classes of the data sets', needsData, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-pnp-vocab-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const { copyFile } = await import('node:fs/promises');
  await copyFile(data('vocab/bert-base-uncased-vocab.txt'), join(folder, 'vocab.txt'));
  const tokenizer = await loadTokenizer(folder);
  const bert = Object.assign(new ToyMatching(512), {
    tokenize(text: string) {
      const [ids = []] = tokenizer.encode([text]);
      return { ids, pieces: tokenizer.pieces(ids) };
    },
  });
  let seed = 7;
  const random = (): number => {
    seed = (seed * 16807) % 2147483647;
    return seed / 2147483647;
  };
  for (const list of ['voc20', 'pc59', 'coco-object', 'coco-stuff', 'ade150-pnp-ovss']) {
    const names = classList(list)
      .filter(({ background }) => !background)
      .map(({ name }) => name);
    for (let round = 0; round < 5; round++) {
      const chosen = names.filter(() => random() < 0.3);
      const captions = buildCaptions(
        bert,
        chosen.map((name, target) => ({ word: mergedWord(name), target, name })),
      );
      t.same(
        captions.flatMap(({ spans }) => spans.map(({ target }) => target)),
        chosen.map((_, i) => i),
        list,
      );
      for (const { pieces, spans } of captions)
        for (const { begin, end } of spans) {
          t.notOk(pieces[begin + 1]?.startsWith('##'), 'a class begins with a whole piece');
          t.ok(
            pieces.slice(begin + 2, end + 1).every((piece) => piece.startsWith('##')),
            'and goes on with parts',
          );
        }
    }
    const all = buildCaptions(
      bert,
      names.map((name, target) => ({ word: mergedWord(name), target, name })),
    );
    t.ok(all.every(({ ids }) => ids.length <= 500));
  }
});
