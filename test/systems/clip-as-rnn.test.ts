/** CLIP as RNN: stored stages of the published code through `trace`, and what has to hold without weights. */
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Tensor } from '#lib/engine/index.js';
import { readPng } from '#lib/image/png.js';
import type { Model } from '#lib/pipelines/model.js';
import { open } from '#lib/pipelines/open.js';
import { boxMask, mapBoxes } from '#lib/systems/clip-as-rnn/boxes.js';
import { mergedSentences, paint } from '#lib/systems/clip-as-rnn/channels.js';
import { keptTexts, recur } from '#lib/systems/clip-as-rnn/loop.js';
import { VisualPrompts } from '#lib/systems/clip-as-rnn/prompts.js';
import { affinity } from '#lib/systems/clip-as-rnn/proposals.js';
import { scoreMatrix } from '#lib/systems/clip-as-rnn/scoring.js';
import { backgroundTexts, fill, semanticTemplates, stuffOf } from '#lib/systems/clip-as-rnn/texts.js';
import { openSafetensors, type TensorToWrite, writeSafetensors } from '#lib/weights/index.js';
import { data, loadAll, maxError, needsData } from '../helpers/data.js';
import { miniFolder, miniScene } from '../helpers/fixture.js';

t.setTimeout(300_000);

interface Note {
  readonly parameters: {
    readonly mode: 'semantic' | 'refer';
    readonly texts: string[];
    readonly scoring_size: number;
    readonly confidence_threshold: number;
    readonly clipes_threshold: number;
    readonly mask_threshold: number;
    readonly visual_prompt_type: string[];
    readonly semantic_templates?: string[];
    readonly bg_cls: string[];
    readonly bg_factor: number;
  };
  readonly rounds: { readonly kept: string[]; readonly boxes_x0_y0_x1_y1: number[][][] }[];
  readonly final: { readonly scores: number[]; readonly mask_pixels: number[] };
}

const words = 49_408;
const tower = (width: number, layers: number, heads: number) => ({
  hidden_size: width,
  intermediate_size: 4 * width,
  num_hidden_layers: layers,
  num_attention_heads: heads,
  hidden_act: 'quick_gelu',
  layer_norm_eps: 1e-5,
});
const clipConfig = (vision: object, heads: number) => ({
  model_type: 'clip',
  vision_config: vision,
  text_config: { ...tower(32, 2, heads), vocab_size: words, max_position_embeddings: 77, eos_token_id: words - 1 },
  projection_dim: 24,
});
const configs: Readonly<Record<string, { cam: object; scoring?: object }>> = {
  semantic: {
    cam: clipConfig({ ...tower(32, 10, 2), image_size: 64, patch_size: 16 }, 2),
    scoring: clipConfig({ ...tower(64, 3, 4), image_size: 32, patch_size: 8 }, 4),
  },
  refer: { cam: clipConfig({ ...tower(32, 9, 2), image_size: 64, patch_size: 16 }, 4) },
};

/** A folder whose table of words is spread over all ids: the notes take ids modulo a small table. */
async function folderOf(t: Test, weights: string, config: object): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-car-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  await copyFile(data('vocab/bpe_simple_vocab_16e6.txt.gz'), join(folder, 'bpe_simple_vocab_16e6.txt.gz'));
  await using file = await openSafetensors(weights);
  const tensors: [string, TensorToWrite][] = [];
  for (const name of file.tensors.keys()) {
    const { data: values, shape } = await file.readArray(name);
    if (name === 'token_embedding.weight') {
      const [rows = 0, width = 0] = shape;
      const spread = new Float32Array(words * width);
      for (let id = 0; id < words; id++) {
        const row = id >= words - 2 ? id - words + rows : id % (rows - 2);
        spread.set((values as Float32Array).subarray(row * width, (row + 1) * width), id * width);
      }
      tensors.push([name, { data: spread, shape: [words, width] }]);
    } else tensors.push([name, { data: values as Float32Array, shape }]);
  }
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  return folder;
}

async function openCase(t: Test, name: string): Promise<Model> {
  const at = (file: string): string => data('systems/clip-as-rnn', name, file);
  const { cam, scoring } = configs[name] as { cam: object; scoring?: object };
  const folder = await folderOf(t, at('cam-model.safetensors'), cam);
  let second: string;
  if (scoring) second = await folderOf(t, at('scoring-model.safetensors'), scoring);
  else {
    second = await mkdtemp(join(tmpdir(), 'wordmask-car-'));
    t.teardown(() => rm(second, { recursive: true, force: true }));
    for (const file of ['config.json', 'model.safetensors'])
      await copyFile(data('reference-models/clip-tiny', file), join(second, file));
    await copyFile(data('vocab/bpe_simple_vocab_16e6.txt.gz'), join(second, 'bpe_simple_vocab_16e6.txt.gz'));
  }
  const model = await open(`clip-as-rnn:${folder}`, { device: 'cpu', encoders: { scoring: second } });
  t.teardown(() => model.dispose());
  return model;
}

/** Tolerances of the notes. */
function toleranceOf(name: string, largest: number): number {
  if (/\.cam$/.test(name)) return 1e-3;
  if (/\.refined$/.test(name)) return 1e-3 * largest;
  if (/\.proposals$/.test(name)) return 2e-3;
  if (/scores/.test(name)) return 1e-4;
  // A pixel on the edge of the mask may fall on its other side.
  if (/scoring_input$/.test(name)) return 5e-2;
  return 1e-4 * Math.max(1e-3, largest);
}

for (const name of ['semantic', 'refer'])
  t.test(`stored stages: ${name}`, needsData, async (t) => {
    const at = (file: string): string => data('systems/clip-as-rnn', name, file);
    const note = JSON.parse(await readFile(at('note.json'), 'utf8')) as Note;
    const model = await openCase(t, name);
    const { parameters: p } = note;
    const options = {
      mode: p.mode,
      confidenceThreshold: p.confidence_threshold,
      clipesThreshold: p.clipes_threshold,
      maskThreshold: p.mask_threshold,
      visualPromptType: p.visual_prompt_type,
      semanticTemplates: p.semantic_templates ?? [],
      bgCls: p.bg_cls,
      bgFactor: p.bg_factor,
      scoringSize: p.scoring_size,
      background: { mode: 'auto' },
    } as const;
    const expected = await loadAll(at('expected.safetensors'));
    const names = [...expected.keys()].filter((key) => !/text_ids$|wrapped/.test(key));
    const rounds = note.rounds.flatMap((_, r) => [`round${r}.kept`, `round${r}.boxes`, `round${r}.prompted`]);
    const image = at('image.png');
    const got = await model.trace(image, p.texts, [...names, ...rounds, 'text_scores', 'label_map'], options);
    for (const key of names) {
      const want = expected.get(key)?.data ?? [];
      const values = Array.from(want, Number);
      const largest = values.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
      const found = got[key]?.data ?? [];
      t.equal(found.length, values.length, `${key}: size`);
      if (/Q10/.test(key)) {
        // Ten iterations amplify what rounding leaves in the unary.
        const far = values.filter((x, i) => Math.abs(x - (found[i] as number)) > 1e-2).length;
        t.ok(far <= 0.002 * values.length, `${key}: ${far} values differ`);
      } else {
        const error = maxError(Array.from(found as Float32Array), values);
        t.ok(error <= toleranceOf(key, largest), `${key}: error ${error.toExponential(1)}`);
      }
    }
    await compareRounds(t, note, got, at);
    t.ok(maxError(Array.from(got.text_scores?.data ?? []), note.final.scores) < 1e-4, 'scores of the last round');
    // The stored masks are of the picture as the published code wraps it.
    const wrapped = await model.trace(image, p.texts, ['label_map'], { ...options, crfWrapQuirk: true });
    for (const [k, pixels] of note.final.mask_pixels.entries()) {
      const mask = Array.from(wrapped.label_map?.data as Uint8Array, (label) => Number(label === k + 1));
      t.equal(
        mask.reduce((a, b) => a + b, 0),
        pixels,
        `mask of text ${k}`,
      );
      const { data: stored } = await readPng(await readFile(at(`mask-${k}.png`)));
      t.equal(mask.filter((on, i) => on !== Number((stored[i] as number) > 0)).length, 0, `pixels of mask ${k}`);
    }
  });

async function compareRounds(
  t: Test,
  { rounds, parameters }: Note,
  got: Record<string, { data: ArrayLike<number>; shape: number[] }>,
  at: (file: string) => string,
): Promise<void> {
  for (const [r, { boxes_x0_y0_x1_y1: boxes }] of rounds.entries()) {
    const found = got[`round${r}.boxes`]?.data as Int32Array;
    const rows = Array.from({ length: found.length / 5 }, (_, i) => [...found.slice(5 * i, 5 * i + 5)].join());
    t.same(rows.sort(), boxes.flatMap((list, i) => list.map((box) => [i, ...box].join())).sort(), `round ${r}: boxes`);
    const texts = Array.from(got[`round${r}.kept`]?.data ?? [], (i) => parameters.texts[i] as string);
    const before = r === 0 ? parameters.texts : (rounds[r - 1]?.kept ?? []);
    t.same(
      texts.map((text) => (r === 0 ? text : fill('a clean origami {}.', text))),
      before,
      `round ${r}: texts`,
    );
    const { data: drawn, shape } = got[`round${r}.prompted`] as { data: Uint8Array; shape: number[] };
    const pixels = (shape[1] as number) * (shape[2] as number) * 3;
    for (let i = 0; i < texts.length; i++) {
      const { default: sharp } = await import('sharp');
      const stored = await sharp(at(`prompted-round${r}-${i}.png`))
        .removeAlpha()
        .raw()
        .toBuffer();
      const differ = stored.filter((value, k) => value !== drawn[i * pixels + k]).length;
      // Pixels within 1e-4 of the threshold and the outline they move.
      t.ok(differ <= 30, `round ${r}, text ${i}: ${differ} of ${pixels} values of the prompted picture differ`);
    }
  }
}

t.test('loop', async (t) => {
  const map = Float32Array.of(0.5);
  const rounds: number[][] = [];
  const run =
    (scores: (texts: readonly number[]) => number[], maps = map) =>
    async ({ texts }: { texts: readonly number[] }) => {
      rounds.push([...texts]);
      return { maps: texts.map(() => maps), scores: scores(texts) };
    };
  const counted = async (
    count: number,
    threshold: number,
    scores: (texts: readonly number[]) => number[],
    maps = map,
  ) => {
    rounds.length = 0;
    return recur(count, threshold, run(scores, maps));
  };
  t.same((await counted(4, 0.5, (texts) => texts.map(() => 0.9))).texts, [0, 1, 2, 3]);
  t.equal(rounds.length, 2, 'all above the threshold: two rounds');
  t.same((await counted(4, 0.5, (texts) => texts.map((i) => i / 10))).texts, [3], 'the best is always left');
  t.same(rounds, [[0, 1, 2, 3], [3]]);
  const shrinking = await counted(5, 0.5, (texts) => texts.map((_, k) => (k === 0 && texts.length > 1 ? 0.1 : 0.9)));
  t.same([shrinking.texts, rounds.length], [[4], 5], 'one text a round');
  t.equal((await counted(3, 0.5, (texts) => texts.map(() => 0.9), Float32Array.of(0))).maps, undefined);
  t.equal(rounds.length, 1, 'nothing found in the first round: no other is run');
  t.same(keptTexts([0.2, 0.4, 0.4], 0.4), [1], 'strictly above; of equals the first');
});

t.test('affinity', async (t) => {
  const size = 12;
  const raw = Float32Array.from({ length: size * size }, (_, i) => 0.05 + ((i * 7919) % 101) / 101);
  const result = affinity(Tensor.from(raw, [size, size]));
  const w = (await result.data()) as Float32Array;
  for (let i = 0; i < size; i++) {
    t.ok(Math.abs(w.slice(i * size, (i + 1) * size).reduce((a, b) => a + b, 0) - 1) < 1e-2, `row ${i}`);
    for (let j = 0; j < i; j++) t.ok(Math.abs((w[i * size + j] as number) - (w[j * size + i] as number)) < 1e-6);
  }
});

t.test('boxes', (t) => {
  const map = Float32Array.from('0009 0000 9900 0000'.replaceAll(' ', ''), (c) => Number(c) / 9);
  t.same(mapBoxes(map, 4, 4, 0.4), [
    [3, 0, 3, 1],
    [0, 2, 2, 3],
  ]);
  t.same(
    [
      ...boxMask(
        [
          [3, 0, 3, 1],
          [0, 2, 2, 3],
        ],
        4,
        4,
      ),
    ].flatMap((on, i) => (on ? [i] : [])),
    [8, 9],
    'a box in the last column is empty',
  );
  t.same(mapBoxes(new Float32Array(16), 4, 4, 0.4), [[0, 0, 0, 0]]);
  t.same(
    mapBoxes(new Float32Array(16).fill(0.5), 4, 4, 1),
    [[0, 0, 3, 3]],
    'the threshold sinks until something passes',
  );
  t.end();
});

t.test('scores', async (t) => {
  const rows = (...values: number[][]) => Tensor.from(Float32Array.from(values.flat()), [values.length, 2]);
  const one = scoreMatrix(rows([1, 0]), [rows([0, 1]), rows([1, 0])], 100, true);
  t.same([...(await one.scores.data())], [1], 'one text has score 1');
  const equal = scoreMatrix(rows([1, 0], [0, 1]), [rows([1, 0], [1, 0])], 100, true);
  t.same([...(await equal.scores.data())], [0.5, 0.5, 0.5, 0.5], 'equal texts share');
  const texts = Array.from({ length: 15 }, () => rows(...Array.from({ length: 20 }, (_, i) => [i === 3 ? 1 : -1, 0])));
  const sure = (
    await scoreMatrix(rows(...Array.from({ length: 20 }, () => [1, 0])), texts, 100, true).scores.data()
  )[3];
  t.ok((sure as number) > 0.9999, 'fifteen templates that agree');
});

t.test('visual prompts', async (t) => {
  const [width, height] = [24, 20];
  const picture = { data: Uint8Array.from({ length: 3 * width * height }, (_, i) => (i * 37) % 251), width, height };
  const map = new Float32Array(width * height);
  for (let y = 5; y < 12; y++) map.fill(0.9, y * width + 6, y * width + 16);
  const inside = [...map.keys()].filter((i) => (map[i] as number) > 0);
  for (const kind of ['blur', 'gray', 'black'] as const) {
    const drawn = await (await VisualPrompts.of(picture, [kind])).draw(map, 0.5);
    t.ok(
      inside.every((i) => [0, 1, 2].every((c) => drawn[3 * i + c] === picture.data[3 * i + c])),
      `${kind}: pixels inside are as they were`,
    );
    t.notSame(drawn, picture.data);
  }
  const circled = await (await VisualPrompts.of(picture, ['circle', 'rectangle', 'contour'])).draw(map, 0.5);
  t.ok([...map.keys()].some((i) => circled[3 * i] === 255 && circled[3 * i + 1] === 0));
  const prompts = await VisualPrompts.of(picture, ['circle']);
  const pixel = new Float32Array(width * height);
  pixel[100] = 1;
  t.equal(await prompts.draw(pixel, 0.5), picture.data, 'a sum of 1 or less: the picture as it is');
  pixel[101] = 0.4;
  t.notSame(await prompts.draw(pixel, 0.5), picture.data, 'an ellipse without axes is a point');
  t.equal(await prompts.draw(new Float32Array(width * height).fill(0.3), 0.5), picture.data, 'an empty mask');
});

t.test('painting', async (t) => {
  const image = { width: 4, height: 1 };
  const low = { labels: [0], shares: Float32Array.of(0.1, 0.1, 0.9, 0.5, 0.9, 0.9, 0.1, 0.5) };
  const high = { labels: [1], shares: Float32Array.of(0.9, 0.2, 0.2, 0.9, 0.1, 0.8, 0.8, 0.1) };
  const { logits, channels } = await paint([low, high], image);
  const values = (await logits.data()) as Float32Array;
  const best = Array.from({ length: 4 }, (_, at) => {
    const column = channels.map((_, c) => values[c * 4 + at] as number);
    return channels[column.indexOf(Math.max(...column))];
  });
  t.same(best, [0, 1, 1, -1], 'the upper layer covers the lower one; a tie with background is background');
  const first = Float32Array.of(0, 0, 1, 1, 1, 1, 0, 0);
  const second = Float32Array.of(0, 1, 0, 1, 1, 0, 1, 0);
  const merged = mergedSentences([first, second], [0.6, 0.3]);
  t.same(
    [...merged.slice(4)].map((share) => share >= 0.5),
    [true, true, false, false],
    'weighted mean of at least a half',
  );
});

t.test('texts', (t) => {
  t.same([semanticTemplates.length, backgroundTexts.length, new Set(backgroundTexts).size], [15, 23, 23]);
  t.equal(fill('a {}.', '$& {}'), 'a $& {}.');
  t.equal(stuffOf('pc59').length, 21);
  t.equal(stuffOf('ade150').length, 50);
  t.end();
});

t.test('whole calls', async (t) => {
  const model = await open(`clip-as-rnn:${miniFolder()}`, { device: 'cpu' });
  t.teardown(() => model.dispose());
  t.match(model.info, { system: 'clip-as-rnn', separable: false });
  const names = ['sky', 'grass', 'disc', 'box'];
  const quick = { bgCls: ['wall', 'road'], background: { mode: 'auto' }, confidenceThreshold: 0.1 } as const;
  const first = await model.segment(miniScene, names, { ...quick, outputs: ['score', 'probabilities'] });
  const again = await model.segment(miniScene, names, { ...quick, outputs: ['score', 'probabilities'] });
  t.same(again.labels, first.labels);
  t.equal(first.labels.length, first.width * first.height);
  const kinds = ['blur', 'gray', 'black', 'circle', 'rectangle', 'contour'];
  t.ok(await model.segment(miniScene, names, { ...quick, visualPromptType: kinds, crf: false }));
  t.ok(await model.segment(miniScene, names, { ...quick, stuff: ['sky', 'grass'], refine: 'pamr' }));
  const refer = { ...quick, mode: 'refer', referCharacterQuirk: true } as const;
  t.ok(await model.segment(miniScene, [{ name: 'disc', prompts: ['the dark disc', 'a round thing'] }, 'box'], refer));
  const alone = await model.segment(miniScene, ['a sky'], { ...refer, bgCls: [] });
  t.match(alone.warnings, [/empty/], 'one sentence without background finds nothing');
  t.ok(alone.labels.every((label) => label === 255));
  for (const background of [{ mode: 'none' }, { mode: 'threshold', value: 0.4 }, { mode: 'prompts', prompts: ['fog'] }])
    t.ok(await model.segment(miniScene, names, { ...quick, background: background as never }));
  const pixel = { data: Uint8Array.of(9, 8, 7), width: 1, height: 1, channels: 3 } as const;
  t.equal((await model.segment(pixel, names, quick)).labels.length, 1);
  for (const [options, message] of [
    [{ confidenceThreshold: 2 }, /confidenceThreshold/],
    [{ visualPromptType: ['star'] }, /visualPromptType/],
    [{ semanticTemplates: ['no place'] }, /exactly one/],
    [{ maskTreshold: 0.5 }, /did you mean 'maskThreshold'/],
    [{ mode: 'both' }, /mode/],
  ] as const)
    await t.rejects(model.segment(miniScene, names, options as never), { code: 'E_OPTION', message });
  await t.rejects(model.encode(miniScene), { code: 'E_OPTION' });
  const built = await open('clip-as-rnn:tiny', { device: 'cpu' });
  t.teardown(() => built.dispose());
  t.equal(
    (await built.segment(pixel, names, quick)).labels.length,
    1,
    "a folder's options for another system are not asked",
  );
  const huge = { data: new Uint8Array(3 * 9000 * 7000), width: 9000, height: 7000, channels: 3 } as const;
  await t.rejects(model.segment(huge, names, quick), { code: 'E_MEMORY_PLAN' });
});
