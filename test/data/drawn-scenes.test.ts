/** Drawn scenes: the same bytes everywhere, sizes, context, splits, options, bounds of the rasteriser. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import t from 'tap';
import {
  classIndex,
  drawScene,
  drawScenes,
  heldOutPairs,
  isHeldOut,
  planScene,
  type SceneBatch,
  type SceneOptions,
  sceneClasses,
  seenClasses,
  splitOfSeed,
  splitSeeds,
  splits,
  stuffNames,
  thingColours,
  thingNames,
  typicalColours,
  unseenClasses,
} from '#lib/data/drawn-scenes/index.js';
import { hostCallSync } from '#lib/engine/host.js';
import { setThreads } from '#lib/engine/index.js';
import { readPng } from '#lib/image/png.js';

// On a busy machine a thousand scenes take a while.
t.setTimeout(300_000);

const assets = new URL('../../../../assets/drawn-scenes/', import.meta.url);

function hash({
  images,
  labels,
  instances,
}: {
  images: Uint8Array;
  labels: Uint8Array;
  instances: Uint8Array;
}): string {
  return createHash('sha256').update(images).update(labels).update(instances).digest('hex').slice(0, 16);
}

/** Calls `each` with batches of 50 scenes of a split. */
async function batches(
  split: 'train' | 'test',
  count: number,
  each: (batch: SceneBatch) => void,
  options?: SceneOptions,
) {
  for (let begin = 0; begin < count; begin += 50) each(await drawScenes(splitSeeds(split, 50, begin), options));
}

t.test('the same bytes on every machine', async (t) => {
  const cases: readonly (readonly [string, Parameters<typeof splitSeeds>[0], SceneOptions])[] = [
    ['96', 'train', {}],
    ['64', 'train', { size: 64 }],
    ['test', 'test', {}],
    ['wide', 'test', { size: { width: 131, height: 97 } }],
    ['composition', 'test-composition', {}],
    ['style', 'test-style', {}],
    ['val', 'val', { closeUps: 1, camera: 1, typicalColour: 0 }],
  ];
  const found: Record<string, string> = {};
  for (const [name, split, options] of cases) found[name] = hash(await drawScenes(splitSeeds(split, 12), options));
  t.same(found, {
    96: 'b6cb81b6c504c905',
    64: 'cef8118f71572b52',
    test: '70407ea2a55cf579',
    wide: 'fce46065dbfed3f3',
    composition: '68be0d6872fb5d33',
    style: '78d43fb86e7dca4e',
    val: 'd77ee26241333d0f',
  });
});

t.test('the same bytes for every thread count, batch and single scene', async (t) => {
  const seeds = splitSeeds('train', 11, 300);
  const whole = await drawScenes(seeds, { size: 64 });
  const threads = [1, 3];
  for (const count of threads) {
    setThreads(count);
    t.equal(hash(await drawScenes(seeds, { size: 64 })), hash(whole), `${count} threads`);
  }
  setThreads(2);
  const pixels = 64 * 64;
  for (const [i, seed] of seeds.entries()) {
    const one = await drawScene(seed, { size: 64 });
    t.ok(Buffer.from(one.image.data).equals(whole.images.subarray(i * pixels * 3, (i + 1) * pixels * 3)));
    t.ok(Buffer.from(one.labels).equals(whole.labels.subarray(i * pixels, (i + 1) * pixels)));
    t.same(one.things, whole.scenes[i]?.things);
  }
  t.same(planScene(5), planScene(5));
});

t.test('64 pixels are the area average of 96', async (t) => {
  const [large, small] = [await drawScene(17, { size: 96 }), await drawScene(17, { size: 64 })];
  const at = (x: number, y: number, c: number): number => large.image.data[(y * 96 + x) * 3 + c] as number;
  let worst = 0;
  for (let y = 0; y < 64; y++) {
    for (let x = 0; x < 64; x++) {
      let sum = 0;
      for (let j = 0; j < 3; j++)
        for (let i = 0; i < 3; i++) sum += at(Math.floor((3 * x + i) / 2), Math.floor((3 * y + j) / 2), 1);
      worst = Math.max(worst, Math.abs((small.image.data[(y * 64 + x) * 3 + 1] as number) - Math.floor(sum / 9 + 0.5)));
    }
  }
  t.equal(worst, 0);
});

t.test('the committed sample', async (t) => {
  const scenes = await drawScenes(splitSeeds('test', 24));
  const pixels = scenes.width * scenes.height;
  for (let i = 0; i < 24; i++) {
    const name = `${String(i).padStart(6, '0')}.png`;
    const image = await readPng(await readFile(new URL(`images/${name}`, assets)));
    const labels = await readPng(await readFile(new URL(`labels/${name}`, assets)));
    t.ok(
      Buffer.from(image.data as Uint8Array).equals(scenes.images.subarray(i * pixels * 3, (i + 1) * pixels * 3)),
      name,
    );
    t.ok(
      Buffer.from(labels.data as Uint8Array).equals(scenes.labels.subarray(i * pixels, (i + 1) * pixels)),
      `labels of ${name}`,
    );
  }
});

t.test('sizes, and how far a grid can go', async (t) => {
  const grids = [8, 12, 16];
  const counts = new Float64Array(34);
  const tallies = grids.map(() => ({ hit: new Float64Array(34), said: new Float64Array(34) }));
  await batches('test', 1000, (batch) => {
    const pixels = batch.width * batch.height;
    for (let b = 0; b < 50; b++) {
      const labels = batch.labels.subarray(b * pixels, (b + 1) * pixels);
      for (const label of labels) counts[label] = (counts[label] as number) + 1;
      for (const [g, tally] of tallies.entries()) addGrid(labels, batch, grids[g] as number, tally);
    }
  });
  const total = counts.reduce((sum, n) => sum + n, 0);
  const things = counts.subarray(10).reduce((sum, n) => sum + n, 0) / total;
  t.ok(things > 0.2 && things < 0.3, `things cover ${(100 * things).toFixed(1)}% of the test pixels`);
  for (const [label, n] of counts.entries())
    t.ok(n / total > 0.003, `${sceneClasses[label]} ${(n / total).toFixed(4)}`);
  const scores = tallies.map(({ hit, said }) => {
    const iou = Array.from(hit, (n, k) => n / ((counts[k] as number) + (said[k] as number) - n));
    return (100 * iou.reduce((sum, x) => sum + x, 0)) / 34;
  });
  for (const [i, expected] of [68, 75.5, 80].entries())
    t.ok(Math.abs((scores[i] as number) - expected) < 2, `best of a grid of ${grids[i]}: ${scores[i]?.toFixed(1)}`);
});

/** The label that covers most of each square cell, against the pixels in it. */
function addGrid(
  labels: Uint8Array,
  { width, height }: { width: number; height: number },
  side: number,
  tally: { hit: Float64Array; said: Float64Array },
): void {
  const cell = Math.min(width, height) / side;
  const [columns, rows] = [Math.ceil(width / cell), Math.ceil(height / cell)];
  const votes = new Int32Array(columns * rows * 34);
  for (let i = 0; i < labels.length; i++) {
    const at = Math.floor(Math.floor(i / width) / cell) * columns + Math.floor((i % width) / cell);
    const slot = at * 34 + (labels[i] as number);
    votes[slot] = (votes[slot] as number) + 1;
  }
  for (let at = 0; at < columns * rows; at++) {
    const cellVotes = votes.subarray(at * 34, at * 34 + 34);
    const best = cellVotes.indexOf(Math.max(...cellVotes));
    tally.hit[best] = (tally.hit[best] as number) + (cellVotes[best] as number);
    tally.said[best] = (tally.said[best] as number) + cellVotes.reduce((sum, n) => sum + n, 0);
  }
}

t.test('what training scenes are made of', async (t) => {
  const plans = splitSeeds('train', 4000).map((seed) => planScene(seed));
  const share = (test: (plan: (typeof plans)[number]) => boolean): number => plans.filter(test).length / plans.length;
  t.ok(Math.abs(share((plan) => plan.closeUp) - 0.5) < 0.03, 'half are close-ups');
  t.ok(Math.abs(share((plan) => plan.camera.zoom > 1) - 0.6) < 0.03, '60% are zoomed');
  t.ok(plans.every(({ camera }) => camera.zoom >= 1 && camera.zoom <= 2));
  t.ok(plans.every(({ stuff }) => stuff.length >= 1 && stuff.length <= 3));
  t.ok(plans.every(({ things }) => things.length >= 1 && things.length <= 5));
  t.ok(
    plans.every(
      ({ closeUp, things }) =>
        !closeUp || (things.length <= 2 && things.every((thing) => thing.extent >= 0.4 && thing.extent <= 0.9)),
    ),
  );
  t.ok(plans.every(({ things }) => things.every((thing) => thing.extent >= 0.18)));
  t.ok(
    plans.every(({ gain, night }) => gain.every((g) => g >= (night ? 0.5 : 0.86) && g <= 1.12)),
    'light',
  );
  const things = plans.flatMap((plan) => plan.things);
  t.ok(
    things.every(({ colour, name }) => !isHeldOut(colour, name)),
    'no held-out pair',
  );
  const typical = things.filter(({ colour, name }) => typicalColours[name] === colour).length / things.length;
  t.ok(typical > 0.6 && typical < 0.7, `typical colour ${typical}`);
  const uniform = splitSeeds('train', 1500).flatMap((seed) => planScene(seed, { typicalColour: 0 }).things);
  const left = uniform.filter(({ colour, name }) => typicalColours[name] === colour).length / uniform.length;
  t.ok(left > 0.09 && left < 0.17, `typical colours by chance ${left}`);
  const test = splitSeeds('test', 500).map((seed) => planScene(seed));
  t.ok(
    test.every(({ camera, closeUp }) => camera.zoom === 1 && !closeUp),
    'neither in the test split',
  );
});

t.test('splits', async (t) => {
  t.same(
    [splits.val.count, splits.test.count, splits['test-composition'].count, splits['test-style'].count],
    [500, 1000, 500, 500],
  );
  for (const name of ['val', 'test', 'test-composition', 'test-style'] as const)
    t.same([...new Set(splitSeeds(name, splits[name].count).map(splitOfSeed))], [name]);
  t.equal(splitOfSeed(0), 'train');
  t.throws(() => splitSeeds('val', 501), { code: 'E_OPTION' });
  t.throws(() => splitOfSeed(-1), { code: 'E_OPTION' });
  t.equal(new Set(heldOutPairs.map((pair) => pair.join(' '))).size, 20);
  for (const [colour, thing] of heldOutPairs) t.not(typicalColours[thing], colour);
  const composed = splitSeeds('test-composition', 500).flatMap((seed) => planScene(seed).things);
  t.ok(
    composed.every(({ colour, name }) => isHeldOut(colour, name)),
    'all things of test-composition are held out',
  );
  t.equal(new Set(composed.map(({ colour, name }) => `${colour} ${name}`)).size, 20);
  t.equal(seenClasses.filter((name) => (thingNames as readonly string[]).includes(name)).length, 18);
  t.equal(unseenClasses.filter((name) => (stuffNames as readonly string[]).includes(name)).length, 2);
  t.equal(seenClasses.length + unseenClasses.length, 34);
  for (const colour of thingColours) {
    const sharing = Object.values(typicalColours).filter((one) => one === colour).length;
    t.ok(sharing >= 2 && sharing <= 4, `${colour} is typical of ${sharing} things`);
  }
  t.equal(classIndex.get('house'), 10);
});

t.test('labels, instances and boxes agree', async (t) => {
  for (const seed of splitSeeds('test', 6, 40)) {
    const scene = await drawScene(seed);
    const { width } = scene.image;
    for (const [i, thing] of scene.things.entries()) {
      const at = [...scene.instances.keys()].filter((p) => scene.instances[p] === thing.instance);
      t.ok(at.every((p) => scene.labels[p] === thing.class));
      t.equal(at.length / scene.labels.length, thing.area);
      const [xs, ys] = [at.map((p) => p % width), at.map((p) => Math.floor(p / width))];
      if (at.length > 0)
        t.same(scene.boxes[i], [Math.min(...xs), Math.min(...ys), Math.max(...xs) + 1, Math.max(...ys) + 1]);
    }
    const stuff = scene.labels.filter((_, p) => scene.instances[p] === 0);
    t.ok(
      stuff.every((label) => scene.stuff.some((region) => region.class === label)),
      'every pixel is labelled',
    );
  }
});

t.test('options and broken lists are refused', async (t) => {
  t.throws(() => planScene(1, { camra: 1 } as SceneOptions), { code: 'E_OPTION', message: /did you mean camera/ });
  t.throws(() => planScene(1, { size: 8 }), { code: 'E_OPTION' });
  t.throws(() => planScene(1, { closeUps: 2 }), { code: 'E_OPTION' });
  await t.rejects(drawScenes([]), { code: 'E_USAGE' });
  await t.rejects(drawScenes(splitSeeds('train', 30), { size: 4096 }), { code: 'E_OPTION' });
  const draw = (list: number[], begins: number[]): unknown =>
    hostCallSync('draw_scenes', [Float32Array.from(list), Uint32Array.from(begins)], [32, 32, 32, 32]);
  const head = [32, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0];
  t.doesNotThrow(() => draw(head, [0, head.length]));
  for (const bad of [
    [],
    head.slice(0, 5),
    [...head, 9],
    [...head, Number.NaN],
    [...head, 4, 1, 5000],
    [...head, 4, 1, 3, 0, 0],
    [...head, 1, 40, 0],
    [...head, 3, 10, 0],
    [0, ...head.slice(1)],
  ])
    t.throws(() => draw(bad, [0, bad.length]), { code: 'E_USAGE' }, JSON.stringify(bad.slice(11)));
  t.throws(() => draw(head, [0, head.length + 1]), { code: 'E_USAGE' });
  t.throws(() => draw(head, [5, 2]), { code: 'E_USAGE' });
  const far = [...head, 1, 1, 10, 2, 9, 9, 9, 9, 9, 9, 1, 2, 1e7, 1e7, 1e7, 1e7, 1e7, 1e7, 1e7, 1, 0, 0];
  t.doesNotThrow(() => draw([...far, 4, 1, 4, -1e7, -1e7, 1e7, -1e7, 1e7, 1e7, -1e7, 1e7], [0, far.length + 11]));
});
