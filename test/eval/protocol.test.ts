/** Protocols: the record, what each choice does, what is refused, words, splits, published rows. */
import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import {
  checkProtocol,
  evaluate,
  labelRuleOf,
  type Protocol,
  type ProtocolRequest,
  protocolHash,
  publishedRows,
} from 'wordmask/eval';
import { wordLabels } from '#lib/data/class-words.js';
import { datasetNames, type EvalDataset } from '#lib/data/dataset.js';
import { protocolKeys } from '#lib/eval/protocol.js';
import { usualProtocol } from '#lib/eval/protocols.js';
import { setUp } from '#lib/eval/setup.js';
import { splitSides } from '#lib/eval/splits.js';
import { Totals } from '#lib/eval/totals.js';
import { open } from '#lib/pipelines/open.js';
import { classList } from '#lib/text/index.js';
import { clipTinyFolder, data, needsData } from '../helpers/data.js';
import { sceneSet } from '../helpers/eval.js';

const systems = ['clip', 'maskclip', 'sclip', 'clearclip', 'naclip'];
const models = new Map(
  await Promise.all(systems.map(async (name) => [name, await open(`${name}:tiny`, { device: 'cpu' })] as const)),
);
t.teardown(async () => {
  for (const model of models.values()) await model.dispose();
});
const model = (name = 'naclip') => models.get(name) as NonNullable<ReturnType<typeof models.get>>;

/** A benchmark without pictures. */
const bench = (name: string, classes = name): EvalDataset => sceneSet(1, { name, classes: classList(classes) });
/** Settings as published: a folder without options of its own. */
const folder = needsData.skip ? '' : await clipTinyFolder();
const published = async (system: string, name: string, request?: ProtocolRequest) => {
  await using plain = await open(`${system}:${folder}`, { device: 'cpu' });
  return (await setUp(plain, bench(name), request)).protocol;
};
const record = async (name: string, request?: ProtocolRequest, system = 'naclip'): Promise<Protocol> =>
  (await setUp(model(system), bench(name), request)).protocol;

t.test('the record has exactly its keys, a hash, and refuses others by name', async (t) => {
  const keys =
    'name evaluator absent dataset classes queries templates average resize window background refine ignore reduceZeroLabel labelMap split merge systemOptions';
  t.same([...protocolKeys].sort(), keys.split(' ').sort());
  const protocol = await record('voc21');
  t.same(Object.keys(protocol).sort(), keys.split(' ').sort());
  const shuffled = checkProtocol(Object.fromEntries(Object.entries(protocol).reverse()));
  t.equal(protocolHash(shuffled), protocolHash(protocol));
  t.not(protocolHash({ ...protocol, absent: 'skip' }), protocolHash(protocol));
  const wrong = (changes: object, message: RegExp) =>
    t.rejects(record('voc21', changes as never), { code: 'E_OPTION', message });
  await wrong({ windows: { crop: 1 } }, /"windows", did you mean 'window'/);
  await wrong({ window: { crop: 64, strid: 32 } }, /"window.strid", did you mean 'stride'/);
  await wrong({ name: 'slip' }, /did you mean 'sclip'/);
  await wrong({ absent: 'one' }, /absent is "one"/);
  await wrong({ refine: 'blur' }, /refine is "blur"; allowed are 'none', 'pamr', 'crf'/);
  await wrong({ templates: ['{} and {}'] }, /templates/);
  await t.rejects(record('voc21', 'sclp' as never), { code: 'E_OPTION', message: /did you mean 'sclip'/ });
  t.throws(() => checkProtocol({ ...protocol, window: undefined }), { code: 'E_OPTION', message: /window is missing/ });
  t.throws(() => checkProtocol([]), { code: 'E_OPTION' });
});

t.test('published settings of every system give a whole record', async (t) => {
  for (const system of systems)
    for (const name of model(system).info.presets.filter((preset) => datasetNames().includes(preset))) {
      const { protocol, preset } = await setUp(model(system), bench(name), undefined);
      t.equal(protocol.name, 'sclip', `${system} ${name}`);
      t.ok(preset?.source);
    }
});

t.test('published settings as papers have them', needsData, async (t) => {
  const voc = await published('naclip', 'voc21');
  t.match(voc, {
    window: { crop: 0 },
    background: { mode: 'threshold', value: 0.1 },
    refine: { name: 'pamr', steps: 10 },
  });
  t.match(voc, {
    queries: { file: 'voc21-queries-sclip', background: 'listed' },
    merge: 'none',
    evaluator: 'mmseg',
    absent: 'zero',
  });
  t.match(await published('naclip', 'cityscapes'), {
    resize: { shortSide: 560 },
    window: { crop: 224, stride: 112 },
    merge: 'cosine',
  });
  t.match(await published('clearclip', 'voc21'), {
    background: { value: 0.5 },
    window: { crop: 448, stride: 224 },
    refine: 'none',
  });
  t.match(await published('sclip', 'voc21'), { systemOptions: { logitScale: 65, areaThreshold: 0.1 } });
});

t.test('a named protocol holds whatever the system publishes', async (t) => {
  const sclip = await record('voc21', 'sclip');
  t.match(sclip, {
    resize: { mode: 'keep-ratio', shortSide: 336 },
    window: { crop: 224, stride: 112 },
    background: { value: 0.1 },
  });
  t.match(sclip, { templates: 'imagenet-80', average: 'normalise-mean-normalise' });
  const tcl = await record('pc60', 'tcl', 'maskclip');
  t.match(tcl, { resize: { shortSide: 448 }, window: { crop: 448, stride: 224 }, background: { value: 0.35 } });
  t.match(tcl, { templates: 'tcl-custom', average: 'mean-normalise', queries: { background: 'none' } });
  t.same(tcl.systemOptions.mean, [123.675, 116.28, 103.53]);
  await t.rejects(record('voc21', 'd2'), { code: 'E_OPTION', message: /cannot follow resize.*short-side/ });
  const d2 = await record('pas20', { name: 'd2', resize: null, window: null } as never).catch((error) => error);
  t.match(d2, { code: 'E_OPTION' }, 'pas20 is no class list of its own');
  const own = await setUp(model(), { ...bench('voc20'), name: 'pas20' }, undefined);
  t.match(own.protocol, { name: 'd2', evaluator: 'd2', absent: 'skip', resize: { mode: 'keep-ratio' } });
  t.equal(labelRuleOf(undefined, 'naclip', 'pas20'), 'd2');
  t.equal(labelRuleOf('pnp-ovss', 'naclip', 'voc21'), 'pnp-ovss');
  t.equal(usualProtocol('clip-as-rnn', 'voc21'), 'car');
});

t.test('a whole record repeats itself; what cannot be done is refused by name', async (t) => {
  const first = await record('ade150', { refine: 'none', systemOptions: { sigma: 3 } });
  const again = await record('ade150', first);
  t.equal(protocolHash(again), protocolHash(first));
  t.equal(first.systemOptions.sigma, 3);
  const refused = (changes: object, message: RegExp) =>
    t.rejects(record('ade150', changes as never), { code: 'E_OPTION', message });
  await refused(
    { resize: { mode: 'squash', shortSide: 336, longSide: 336, multiple: 1 } },
    /naclip cannot follow resize/,
  );
  await refused({ average: 'projected-mean-normalise' }, /cannot follow average/);
  await refused({ merge: 'score' }, /cannot follow merge = "score": here it is "cosine"/);
  await refused({ ignore: 7 }, /cannot follow ignore/);
  await refused({ reduceZeroLabel: true }, /cannot follow reduceZeroLabel/);
  await refused({ dataset: 'voc20' }, /cannot follow dataset/);
  await refused({ classes: { file: 'ade150', hash: '0'.repeat(64) } }, /cannot follow classes/);
  await refused({ split: 'voc' }, /split "voc" divides the classes of voc20/);
  await refused({ systemOptions: { crop: 64 } }, /systemOptions.crop has a key of its own: say it as window/);
  await refused({ systemOptions: { sigmas: 3 } }, /sigma/);
  await refused({ background: { mode: 'system', value: null } }, /cannot follow background/);
});

t.test('parts of choices', async (t) => {
  const own = await record('ade150');
  const changed = await record('ade150', {
    resize: { shortSide: 80 },
    window: { stride: 16 },
    queries: { file: 'ade150-synonyms' },
  });
  t.match(changed, { resize: { ...own.resize, shortSide: 80 }, window: { crop: own.window?.crop, stride: 16 } });
  t.match(changed, { queries: { file: 'ade150-synonyms', background: 'listed' } });
  t.match(await record('ade150', { background: { mode: 'none' } }), { background: { mode: 'none', value: null } });
  t.match(await record('ade150', { name: 'sclip', resize: { longSide: 1024 } }), {
    resize: { shortSide: 336, longSide: 1024 },
  });
  t.same((await record('ade150', { name: 'sclip', resize: null })).resize, own.resize, "null is the system's own");
  await t.rejects(record('ade150', { resize: { shortSide: null } }), {
    code: 'E_OPTION',
    message: /cannot follow resize/,
  });
  await t.rejects(record('ade150', { background: { mode: 'threshold' } }), { code: 'E_OPTION' });
});

t.test('choices reach the model', async (t) => {
  const dataset = sceneSet(2);
  const run = async (protocol?: ProtocolRequest) =>
    evaluate({ model: model(), dataset, ...(protocol && { protocol }) });
  const base = await run();
  const changes: ProtocolRequest[] = [
    { refine: 'none' },
    { refine: { name: 'crf', iterations: 2 } },
    { window: { crop: 0, stride: 0 } },
    { resize: { mode: 'keep-ratio', shortSide: 64, longSide: 2048, multiple: 1 } },
    { templates: ['a drawing of a {}'] },
    { background: { mode: 'threshold', value: 0.9 } },
    { background: { mode: 'margin', value: 0.5 } },
    { systemOptions: { logitScale: 5 }, background: { mode: 'threshold', value: 0.2 } },
  ];
  for (const change of changes) {
    const changed = await run(change);
    t.notSame(changed.confusion, base.confusion, JSON.stringify(change));
    t.not(changed.protocolHash, base.protocolHash);
  }
  t.match((await run({ refine: { name: 'crf', iterations: 2 } })).protocol.refine, {
    name: 'crf',
    gaussian: { sxy: 3 },
  });
  const absent = await run({ absent: 'skip' });
  t.equal(absent.metrics.mIoU, base.metrics.mIoUSkip);
});

t.test('a system that reads pictures in its own way', needsData, async (t) => {
  const blip = t.testdir();
  for (const file of ['config.json', 'model.safetensors', 'vocab.txt'])
    await copyFile(data('systems/pnp-ovss/blip-12x12-published-code', file), join(blip, file));
  await using pnp = await open(`pnp-ovss:${blip}`, { device: 'cpu' });
  const told = (name: string, request?: ProtocolRequest) => setUp(pnp, bench(name), request);
  const { protocol, preset, classOf } = await told('voc21');
  t.match(protocol, { name: 'pnp-ovss', evaluator: 'd2', absent: 'skip', resize: { mode: 'squash', shortSide: 336 } });
  t.match(protocol, {
    queries: { file: 'voc20-pnp-ovss' },
    background: { mode: 'system' },
    refine: { name: 'crf', iterations: 10 },
  });
  t.equal(preset?.name, 'v4-voc21');
  t.equal(classOf.length, 21);
  t.equal((await told('pc60')).preset?.name, 'v4-pc59');
  t.equal(protocolHash((await told('voc21', protocol)).protocol), protocolHash(protocol), 'repeats itself');
  t.equal((await told('voc21', { refine: 'none' })).protocol.refine, 'none');
  t.match((await told('voc21', { refine: { name: 'crf', iterations: 3 } })).protocol.refine, {
    iterations: 3,
    bilateral: { srgb: 5 },
  });
  const other = await told('voc21', 'sclip');
  t.match(other.protocol, { name: 'sclip', evaluator: 'mmseg', resize: { mode: 'squash' }, templates: null });
  t.match(other.warnings, [/labels and counting alone/]);
  const wrong = (changes: object, message: RegExp) =>
    t.rejects(told('voc21', changes as never), { code: 'E_OPTION', message });
  await wrong({ systemOptions: { imageSize: 64 } }, /say it as resize/);
  await wrong({ resize: { mode: 'keep-ratio', shortSide: 64, longSide: null, multiple: 1 } }, /cannot follow resize/);
  await wrong({ window: { crop: 64, stride: 32 } }, /cannot follow window/);
  await wrong({ templates: 'clip80' }, /cannot follow templates/);
});

t.test('words', async (t) => {
  const voc = classList('voc21');
  const b = await wordLabels([...classList('voc20'), { name: 'background', prompts: [], background: true }], {
    file: 'pas20b-queries',
    background: 'listed',
  });
  t.equal(b.length, 21);
  t.equal(b[20]?.prompts.length, 39);
  t.notOk(b[20]?.prompts.some((word) => ['table', 'diningtable', 'cat'].includes(word)));
  t.equal((await wordLabels(voc, { file: 'voc21-queries-sclip', background: 'listed' }))[0]?.prompts.length, 26);
  t.same((await wordLabels(voc, { file: 'voc21', background: 'name' }))[0]?.prompts, ['background']);
  t.same(
    (await wordLabels(voc, { file: 'voc20', background: 'none' })).slice(0, 2).map(({ prompts }) => prompts),
    [[], ['aeroplane']],
  );
  await t.rejects(wordLabels(voc, { file: 'ade150', background: 'none' }), {
    code: 'E_VOCAB',
    message: /150 entries.*21 classes/,
  });
  await t.rejects(wordLabels(voc, { file: 'voc22', background: 'none' }), {
    code: 'E_OPTION',
    message: /did you mean/,
  });
  const file = join(t.testdir(), 'words.json');
  const two = voc.slice(1, 3);
  await writeFile(file, '["plane|jet", ["bike", "bicycle"]]');
  t.same(
    (await wordLabels(two, { file, background: 'none' })).map(({ prompts }) => prompts),
    [
      ['plane', 'jet'],
      ['bike', 'bicycle'],
    ],
  );
  for (const bad of ['{}', '[1, 2]', '["a"', '["a", []]']) {
    await writeFile(file, bad);
    await t.rejects(wordLabels(two, { file, background: 'none' }), { code: 'E_VOCAB' }, bad);
  }
});

t.test('seen and unseen classes', async (t) => {
  const count = (split: 'voc' | 'coco-stuff' | 'ade847', dataset: string, classes: number) => {
    const sides = splitSides(split, dataset, classes);
    return ['seen', 'unseen', undefined].map((side) => sides.filter((found) => found === side).length);
  };
  t.same(count('voc', 'voc20', 20), [15, 5, 0]);
  t.same(count('voc', 'voc21', 21), [15, 5, 1]);
  t.same(count('coco-stuff', 'coco-stuff', 171), [156, 15, 0]);
  t.same(count('ade847', 'ade847', 847), [572, 275, 0]);
  const protocol = await record('voc20', { split: 'voc' });
  const totals = new Totals(20);
  // Every class has 4 pixels; of seen ones 2 are right, of unseen ones 3; the rest went nowhere.
  const sides = splitSides('voc', 'voc20', 20);
  const cells = sides.flatMap((side, c) => [
    [c * 21 + c, side === 'seen' ? 2 : 3],
    [c * 21 + 20, side === 'seen' ? 2 : 1],
  ]);
  totals.add({
    cells: cells.map(([cell]) => cell as number),
    counts: cells.map(([, n]) => n as number),
    status: 'done',
  });
  t.match(totals.metrics(protocol), { seen: 0.5, unseen: 0.75, hIoU: 0.6 });
  const lacking = new Totals(20);
  lacking.add({ cells: [0], counts: [1], status: 'done' });
  t.match(lacking.metrics(protocol), { seen: null, unseen: null, hIoU: null }, 'a class without a score leaves none');
});

t.test('published rows', async (t) => {
  const ids = publishedRows.map(({ id }) => id);
  t.equal(new Set(ids).size, ids.length);
  for (const { id, figures, protocol, system, source } of publishedRows) {
    t.ok(figures.length > 0 && source.length > 10, id);
    for (const { dataset, value } of figures)
      t.ok(datasetNames().includes(dataset) && value > 0 && value < 100, `${id} ${dataset}`);
    if (!systems.includes(system)) continue;
    for (const { dataset } of figures) await setUp(model(system), bench(dataset), protocol);
  }
  const report = await evaluate({ model: model(), dataset: sceneSet(1) });
  t.equal(report.reference, undefined, 'no paper speaks of drawn scenes');
  const set = sceneSet(1, { name: 'camvid' });
  t.equal((await evaluate({ model: model(), dataset: set })).reference, undefined);
});
