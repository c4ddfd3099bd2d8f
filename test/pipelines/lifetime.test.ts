/** Models and calls that end early: aborts at any time, deadlines, dispose, memory that runs out. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { scope, sync } from '#lib/engine/index.js';
import type { Model } from '#lib/pipelines/model.js';
import { open } from '#lib/pipelines/open.js';
import type { SegmentOptions } from '#lib/pipelines/segment-options.js';
import { Vocabulary } from '#lib/pipelines/vocabulary.js';
import { clipTinyFolder, needsData } from '../helpers/data.js';
import { heldBytes, liveBytes } from '../helpers/memory.js';
import { differences, waves, words } from '../helpers/pictures.js';

const folder = needsData.skip ? '' : await clipTinyFolder();
const small: SegmentOptions = { shortSide: 64, crop: 32, stride: 16, refine: 'none' };
/** Far above the 100 ms of the interface: a guard against hangs on a loaded machine. */
const guardMs = 1000;

let state = 7;
const random = () => {
  state = (Math.imul(state, 1103515245) + 12345) >>> 0;
  return state / 2 ** 32;
};

t.setTimeout(300_000);

t.test('aborted at 200 random times', needsData, async (t) => {
  const model = await open(`naclip:${folder}`);
  const kinds: [number, number, SegmentOptions][] = [
    [200, 150, small],
    [200, 150, { ...small, refine: { name: 'pamr', steps: 3, dilations: [2, 4] }, outputs: ['score', 'topk'] }],
    [120, 90, { ...small, refine: { name: 'crf', iterations: 3 }, minArea: 20 }],
    [300, 200, { refine: 'none' }],
  ];
  const big: [number, number, SegmentOptions] = [
    1600,
    1200,
    { shortSide: 128, crop: 64, stride: 32, refine: { name: 'pamr', steps: 2, dilations: [2] } },
  ];
  const pictures = new Map([...kinds, big].map(([w, h]) => [w, waves(w, h)]));
  const reference = await model.segment(waves(50, 40), ['cat', 'dog'], small);
  const lasts: number[] = [];
  for (const [w, , options] of [...kinds, big]) {
    const started = performance.now();
    await model.segment(pictures.get(w) as never, words(12), options);
    lasts.push(performance.now() - started);
  }
  const before = await heldBytes();
  let worst = 0;
  let finished = 0;
  for (let i = 0; i < 200; i++) {
    const which = i % 25 === 24 ? kinds.length : i % kinds.length;
    const [w, , options] = which === kinds.length ? big : (kinds[which] as (typeof kinds)[0]);
    const controller = new AbortController();
    const reason = { i };
    // New words each time, so that the text tower has work too.
    const vocab = Vocabulary.from(
      words(12).map((word) => `${word} ${i}`),
      { templates: 'clip7' },
    );
    const picture = pictures.get(w) as never;
    const call =
      i % 5 === 4
        ? model
            .encode(picture, {
              shortSide: options.shortSide,
              crop: options.crop,
              stride: options.stride,
              signal: controller.signal,
            })
            .then((features) => features.dispose())
        : model.segment(picture, vocab, { ...options, signal: controller.signal });
    let rejected = 0;
    const outcome = call.then(
      () => 'done',
      (error) => {
        rejected = performance.now();
        return error;
      },
    );
    await Promise.race([delay(random() * 1.1 * (lasts[which] as number)), outcome]);
    const aborted = performance.now();
    controller.abort(reason);
    const result = await outcome;
    if (result === 'done') finished++;
    else {
      if (result !== reason) throw result;
      worst = Math.max(worst, rejected - aborted);
    }
  }
  t.ok(
    worst < guardMs,
    `rejected within ${worst.toFixed(1)} ms of the abort at worst (${finished} calls were done before)`,
  );
  t.ok(finished < 190, 'aborts hit work');
  t.same(differences(await model.segment(waves(50, 40), ['cat', 'dog'], small), reference), [], 'the next call works');
  // What was aborted ends in the background: wait for it as dispose() does.
  await model.dispose();
  const rest = await heldBytes();
  t.ok(rest <= before, `${rest} bytes held at the end, ${before} with the model`);
});

t.test('aborts leave nothing behind', needsData, async (t) => {
  const model = await open(`naclip:${folder}`);
  await model.segment(waves(100, 80), ['cat'], small);
  const before = await heldBytes();
  for (let i = 0; i < 30; i++) {
    const signal = AbortSignal.timeout(1 + (i % 12));
    await model.encode(waves(100, 80), { shortSide: 64, crop: 32, stride: 16, signal }).then(
      (features) => features.dispose(),
      () => undefined,
    );
  }
  for (let i = 0; i < 50 && (await heldBytes()) !== before; i++) await delay(10);
  t.equal(await heldBytes(), before);
  await model.dispose();
});

t.test('deadlines', needsData, async (t) => {
  const model = await open(`naclip:${folder}`);
  const started = performance.now();
  await t.rejects(model.segment(waves(1500, 1000), words(200), { refine: 'pamr', timeoutMs: 30 }), {
    code: 'E_TIMEOUT',
    retryable: true,
    details: { limit: 30 },
    message: /segment.*30/,
  });
  t.ok(performance.now() - started < guardMs + 30);
  await t.rejects(model.encode(waves(1500, 1000), { timeoutMs: 1 }), { code: 'E_TIMEOUT', message: /encode/ });
  t.equal((await model.segment(waves(40, 40), ['cat'], { ...small, timeoutMs: 60_000 })).labels.length, 1600);
  t.equal(
    (await model.segment(waves(40, 40), ['cat'], { ...small, timeoutMs: 2 ** 31 - 1 })).labels.length,
    1600,
    'the longest deadline',
  );
  const controller = new AbortController();
  const call = model.segment(waves(1500, 1000), words(50), { timeoutMs: 60_000, signal: controller.signal });
  controller.abort('mine');
  t.equal(await call.catch((error) => error), 'mine', 'the caller is faster than the deadline');
  // A source that never gives anything is not waited for either.
  async function* never(): AsyncGenerator<Uint8Array> {
    await new Promise(() => undefined);
    yield new Uint8Array();
  }
  await t.rejects(model.segment(never(), ['cat'], { timeoutMs: 20 }), { code: 'E_TIMEOUT' });
  void model.dispose();
});

t.test('dispose', needsData, async (t) => {
  const before = await heldBytes();
  const model = await open(`naclip:${folder}`);
  const vocab = await model.vocabulary(['cat', 'dog']);
  const features = await model.encode(waves(40, 40), small);
  const expected = await model.segment(waves(90, 70), vocab, small);
  const calls = Array.from({ length: 4 }, () => model.segment(waves(90, 70), vocab, small));
  let done = 0;
  for (const call of calls) void call.then(() => done++);
  const ended = model.dispose();
  await ended;
  t.equal(done, 4, 'waits for running calls');
  for (const call of calls) t.same(differences(await call, expected), []);
  t.equal(model.dispose(), ended, 'twice is once');
  await model[Symbol.asyncDispose]();
  const gone = { code: 'E_DISPOSED', message: /open it again/ };
  await t.rejects(model.segment(waves(9, 9), vocab), gone);
  await t.rejects(model.encode(waves(9, 9)), gone);
  await t.rejects(model.vocabulary(['x']), gone);
  await t.rejects(model.trace(waves(9, 9), vocab, ['label_map']), gone);
  await t.rejects(model.stream([waves(9, 9)], vocab).next(), gone);
  await t.rejects(model.segment(features, vocab, small), gone);
  t.equal(expected.mask('cat').area + expected.mask('dog').area, 6300, 'results stay usable');
  features.dispose();
  features[Symbol.dispose]();
  t.equal(await liveBytes(), before, 'all bytes are back');
});

t.test('a model does not belong to the scope it was opened in', needsData, async (t) => {
  let model: Model | undefined;
  const features = await scope(async () => {
    model = await open(`clip:${folder}`);
    await model.segment(waves(30, 30), ['cat'], small);
    return { of: await model.encode(waves(30, 30), small) };
  });
  t.equal((await (model as unknown as Model).segment(features.of, ['cat', 'dog'], small)).labels.length, 900);
  features.of.dispose();
  await (model as unknown as Model).dispose();
});

t.test('open', needsData, async (t) => {
  const before = await heldBytes();
  for (const ms of [0, 1, 5, 10, 20, 40, 80]) {
    const controller = new AbortController();
    const call = open(`naclip:${folder}`, { signal: controller.signal });
    const outcome = call.then(
      (model) => model.dispose(),
      (error) => error,
    );
    await delay(ms);
    controller.abort('mine');
    const error = await outcome;
    t.ok(error === 'mine' || error === undefined, `aborted after ${ms} ms`);
  }
  for (let i = 0; i < 50 && (await heldBytes()) !== before; i++) await delay(10);
  t.equal(await heldBytes(), before);
  await t.rejects(
    open(folder, { signal: AbortSignal.abort('gone') }).catch((error) => Promise.reject(new Error(error))),
    { message: 'gone' },
  );
  for (const [options, code, message] of [
    [{ dtpye: 'fp32' }, 'E_OPTION', /did you mean 'dtype'/],
    [{ dtype: 'fp16' }, 'E_OPTION', /fp16/],
    [{ dtype: 'int8' }, 'E_OPTION', /int8/],
    [{ device: 'gpu' }, 'E_OPTION', /cpu/],
    [{ device: 'cuda:0' }, 'E_DEVICE', /cuda/],
    [{ memory: '12 parsecs' }, 'E_OPTION', /memory/],
    [{ memory: 1000 }, 'E_MEMORY_PLAN', /67108864/],
    [{ threads: 0 }, 'E_OPTION', /threads/],
    [{ deterministic: false }, 'E_OPTION', /deterministic/],
    [{ system: 'naclipp' }, 'E_MODEL_ID', /naclip/],
    [null, 'E_USAGE', /options/],
  ] as [never, string, RegExp][]) {
    await t.rejects(open(folder, options), { code, message }, JSON.stringify(options));
  }
  t.equal(await heldBytes(), before);
});

t.test('memory that runs out', needsData, async (t) => {
  const root = join(fileURLToPath(import.meta.url), '../../../../..');
  // The limit leaves room for the weights and a call in small pieces, not for eight windows at once.
  const program = `
    import { open } from '#lib/pipelines/open.js';
    import { memory } from '#lib/engine/index.js';
    import { waves, words } from './build/ts/test/helpers/pictures.js';
    const model = await open(${JSON.stringify(`naclip:${folder}`)});
    const attempt = (w, h, options) => model.segment(waves(w, h), words(4), { refine: 'none', ...options }).then(
      ({ labels, warnings }) => ({ sum: labels.reduce((a, b) => a + b, 0), warnings }), ({ code, message, retryable }) => ({ code, message, retryable }));
    const results = [await attempt(200, 150, {}), await attempt(1600, 1100, {}), await attempt(1600, 1100, { tile: 1100 }), await attempt(200, 150, {})];
    console.log(JSON.stringify({ results, live: memory().cpu.liveBytes }));`;
  const run = async (limit: string) => {
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], {
      cwd: root,
      env: { ...process.env, ...(limit && { WORDMASK_MEMORY_LIMIT: limit }) },
    });
    return JSON.parse(stdout).results as {
      sum?: number;
      code?: string;
      message?: string;
      warnings?: string[];
      retryable?: boolean;
    }[];
  };
  const free = await run('');
  t.ok(free.every(({ code, warnings }) => code === undefined && warnings?.length === 0));
  const tight = await run(String(48 << 20));
  t.match(tight[0], { sum: free[0]?.sum });
  t.match(
    tight[1],
    { sum: free[1]?.sum, warnings: [/out of memory/] },
    'the same result in smaller pieces, said in the warnings',
  );
  t.match(tight[2], { code: 'E_OOM', retryable: true, message: /WORDMASK_MEMORY_LIMIT/ });
  t.match(tight[3], { sum: free[0]?.sum }, 'the next call works');
  await sync();
});
