/** Captions of drawn scenes: statistics, truth, words; the files of `data draw`. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import {
  type Caption,
  caption,
  classWords,
  drawScene,
  drawScenes,
  frames,
  isHeldOut,
  lexicon,
  plural,
  type SceneRecord,
  sceneClasses,
  splitSeeds,
  synonyms,
  visibleGroups,
  visibleStuff,
} from '#lib/data/drawn-scenes/index.js';
import { sceneResult, writeScenes } from '#lib/data/drawn-scenes/write.js';
import { cocoPanoptic } from '#lib/formats/coco-panoptic.js';
import type { FormatFile } from '#lib/formats/format.js';
import { loadLabels } from '#lib/formats/index.js';

// On a busy machine a thousand scenes take a while.
t.setTimeout(300_000);

interface Pair {
  readonly scene: SceneRecord;
  readonly caption: Caption;
}

let cached: Promise<Pair[]> | undefined;

/** Three captions of each of 1,500 training scenes. */
function pairs(): Promise<Pair[]> {
  cached ??= drawScenes(splitSeeds('train', 1500), { size: 48 }).then(({ scenes }) =>
    scenes.flatMap((scene) => [0, 1, 2].map((draw) => ({ scene, caption: caption(scene, draw) }))),
  );
  return cached;
}

t.test('lexicon', async (t) => {
  t.same(lexicon('Two blue toadstools beside a green striped car on the wooden floor'), [
    { class: 28, word: 'toadstools', colour: 'blue' },
    { class: 11, word: 'car', colour: 'green' },
    { class: 7, word: 'wooden floor' },
  ]);
  t.same(lexicon('nothing of the kind'), []);
  t.same(['fish', 'brolly', 'bench', 'lamp'].map(plural), ['fish', 'brollies', 'benches', 'lamps']);
  const words = sceneClasses.flatMap((name) => synonyms[name]);
  t.equal(new Set(words).size, words.length, 'no word names two classes');
  t.ok(sceneClasses.every((name) => synonyms[name].length === 2 || synonyms[name].length === 3));
  t.ok(frames.length >= 30);
  t.equal(classWords.get('brick wall'), 6);
});

t.test('the nouns of a caption are found again, each in its place', async (t) => {
  const strip = (nouns: Caption['nouns']) =>
    nouns.map(({ class: label, word, colour }) => ({ class: label, word, ...(colour && { colour }) }));
  const wrong = (await pairs()).filter(
    ({ caption: { text, nouns } }) => JSON.stringify(lexicon(text)) !== JSON.stringify(strip(nouns)),
  );
  t.same(
    wrong.map((pair) => pair.caption.text),
    [],
  );
});

t.test('captions are true', async (t) => {
  for (const { scene, caption: said } of await pairs()) {
    const groups = visibleGroups(scene);
    const stuff = visibleStuff(scene);
    for (const noun of said.nouns) {
      const group = groups.find(
        ({ class: label, colour }) => label === noun.class && (!noun.colour || noun.colour === colour),
      );
      const region = stuff.find(({ class: label }) => label === noun.class);
      if (!group && !region) t.fail(`${said.text}: no visible ${noun.word} in scene ${scene.seed}`);
      if (group && noun.count !== Math.min(group.members.length, 3)) t.fail(`${said.text}: count of ${noun.word}`);
      if (group && isHeldOut(group.colour, group.name)) t.fail(`${said.text}: held-out pair`);
    }
  }
  t.pass();
});

t.test('probabilities, words', async (t) => {
  const all = await pairs();
  const share = (test: (pair: Pair) => boolean, of = all): number => of.filter(test).length / of.length;
  const bare = share(({ caption: { nouns } }) => nouns.length === 0);
  t.ok(Math.abs(bare - 0.06) < 0.015, `scene alone ${bare}`);
  const full = all.filter(({ caption: { nouns } }) => nouns.length > 0);
  const things = full.flatMap(({ scene, caption: { nouns } }) =>
    visibleGroups(scene).map((group) => nouns.find((noun) => noun.class === group.class)),
  );
  const named = things.filter((noun) => noun !== undefined);
  t.ok(Math.abs(named.length / things.length - 0.7) < 0.04, `things ${named.length / things.length}`);
  const coloured = named.filter((noun) => noun.colour).length / named.length;
  t.ok(Math.abs(coloured - 0.6) < 0.03, `colours ${coloured}`);
  const stuff = full.flatMap(({ scene, caption: { nouns } }) =>
    visibleStuff(scene).map(({ class: label }) => nouns.some((noun) => noun.class === label)),
  );
  const stuffShare = stuff.filter(Boolean).length / stuff.length;
  t.ok(stuffShare > 0.33 && stuffShare < 0.5, `stuff ${stuffShare}`);
  const vocabulary = new Set(all.flatMap(({ caption: { text } }) => text.match(/[a-z]+/g) ?? []));
  t.ok(vocabulary.size > 350 && vocabulary.size < 430, `${vocabulary.size} words`);
  t.ok(share(({ caption: { text } }) => /^[a-z, ]+$/.test(text)) === 1, 'small letters, blanks, commas');
  t.ok(all.every(({ caption: { text } }) => text.split(' ').length <= 60));
});

t.test('complete captions name all that is visible', async (t) => {
  const { scenes } = await drawScenes(splitSeeds('test', 60));
  let stuff = 0;
  let regions = 0;
  for (const scene of scenes) {
    const { nouns, text } = caption(scene, 0, { mode: 'complete' });
    for (const group of visibleGroups(scene))
      t.ok(
        nouns.some((noun) => noun.class === group.class && noun.colour === group.colour),
        text,
      );
    regions += visibleStuff(scene).length;
    stuff += visibleStuff(scene).filter(({ class: label }) => nouns.some((noun) => noun.class === label)).length;
  }
  t.ok(Math.abs(stuff / regions - 0.7) < 0.13, `stuff ${stuff / regions}`);
  const scene = scenes[0] as SceneRecord;
  t.same(caption(scene, 4), caption(scene, 4));
  t.equal(
    new Set(Array.from({ length: 40 }, (_, draw) => caption(scene, draw).text)).size > 30,
    true,
    'a new one each time',
  );
});

t.test('files', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-scenes-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const seeds = splitSeeds('test', 3, 7);
  const paths = await writeScenes(folder, seeds, { captions: 2, scene: { size: { width: 96, height: 64 } } });
  t.equal(paths.length, 3);
  t.same((await readdir(folder)).sort(), [
    'captions.jsonl',
    'classes.json',
    'images',
    'labels',
    'panoptic',
    'panoptic.json',
  ]);
  const lines = (await readFile(join(folder, 'captions.jsonl'), 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  t.same(
    lines.map(({ captions }) => captions.length),
    [2, 2, 2],
  );
  t.match(lines[1], { image: 'images/000001.png', seed: seeds[1] });
  const json = await readFile(join(folder, 'panoptic.json'));
  for (const [i, seed] of seeds.entries()) {
    const scene = await drawScene(seed, { size: { width: 96, height: 64 } });
    const name = `00000${i}.png`;
    const labels = await loadLabels(join(folder, 'labels', name), { format: 'voc' });
    t.ok(Buffer.from(labels.labels.buffer).equals(Buffer.from(scene.labels)), 'palette PNG');
    const files: FormatFile[] = [
      { name: 'panoptic.json', bytes: json },
      { name, bytes: await readFile(join(folder, 'panoptic', name)) },
    ];
    const read = await cocoPanoptic.read?.(files, { imageId: i + 1 });
    t.same(Array.from(read?.labels ?? []), Array.from(scene.labels), 'panoptic PNG');
    const written = await sceneResult(scene);
    t.equal(read?.segments?.length, written.segments?.length);
  }
  await t.rejects(writeScenes(folder, seeds), { code: 'E_USAGE', message: /not empty/ });
  await t.rejects(writeScenes(folder, seeds, { captions: -1, overwrite: true }), { code: 'E_OPTION' });
  t.equal((await writeScenes(folder, seeds.slice(0, 1), { overwrite: true })).length, 1);
});
