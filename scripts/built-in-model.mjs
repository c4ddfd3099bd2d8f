// Makes a model of the package out of a training run: node scripts/built-in-model.mjs RUN NAME
// Writes assets/models/NAME: plain CLIP in Hugging Face's layout with fp16 weights, and beside it recipe, curve, quick figures, hashes.
// Needs a built checkout (npm run build).
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { cast, Tensor } from '../dist/engine/index.js';
import { readMetrics } from '../dist/train/index.js';
import { findCheckpoint, openSafetensors, writeSafetensors } from '../dist/weights/index.js';

const [run, name] = process.argv.slice(2);
if (!run || !/^[a-z0-9-]+$/.test(name ?? '')) throw new Error('usage: node scripts/built-in-model.mjs RUN NAME');
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const target = join(root, 'assets', 'models', name);
const checkpoint = await findCheckpoint(run, {});
if (!checkpoint) throw new Error(`${run} holds no whole checkpoint`);
await rm(target, { recursive: true, force: true });
await mkdir(target, { recursive: true });

const carried =
  /^(config|preprocessor_config|tokenizer|tokenizer_config|vocab|special_tokens_map)\.json$|^merges\.txt$/;
for (const file of await readdir(checkpoint.folder))
  if (carried.test(file)) await writeFile(join(target, file), await readFile(join(checkpoint.folder, file)));

const weights = await openSafetensors(join(checkpoint.folder, 'model.safetensors'));
const tensors = [];
for (const tensor of weights.tensors.keys()) {
  if (tensor.startsWith('noun_patch.')) continue; // training's own
  const { data, shape } = await weights.readArray(tensor);
  tensors.push([tensor, { dtype: 'f16', shape, data: await cast(Tensor.from(data, shape), 'f16').data() }]);
}
await weights.close();
await writeSafetensors(join(target, 'model.safetensors'), tensors, { metadata: { format: 'pt' } });

const state = JSON.parse(await readFile(join(checkpoint.folder, 'state.json'), 'utf8'));
const records = await readMetrics(join(run, 'metrics.jsonl'));
const every = Math.max(1, Math.floor(records.length / 100));
const curve = records
  .filter((_, i) => (i + 1) % every === 0 || i === records.length - 1)
  .map(({ step, losses }) => {
    const rounded = Object.entries(losses).map(([term, value]) => [term, Number(value.toFixed(4))]);
    return { step, pairs: step * state.recipe.batch, ...Object.fromEntries(rounded) };
  });
await writeFile(join(target, 'recipe.json'), `${JSON.stringify(state.recipe, null, 2)}\n`);
await writeFile(join(target, 'curve.jsonl'), curve.map((record) => `${JSON.stringify(record)}\n`).join(''));

const script = join(root, 'scripts', 'built-in-figures.mjs');
const { stdout } = await promisify(execFile)(process.execPath, [script, checkpoint.folder]);
await writeFile(join(target, 'figures.json'), stdout);
// The model names the read-out that measured best.
const measured = Object.entries(JSON.parse(stdout)).filter(([, value]) => value.mIoU !== undefined);
const [system] = measured.reduce((best, entry) => (entry[1].mIoU > best[1].mIoU ? entry : best));

const manifest = JSON.parse(await readFile(join(checkpoint.folder, 'wordmask.json'), 'utf8'));
const files = {};
for (const file of (await readdir(target)).sort()) {
  const bytes = await readFile(join(target, file));
  files[file] = { sha256: createHash('sha256').update(bytes).digest('hex'), bytes: bytes.length };
}
const { format, templates, defaults } = manifest;
const licence = { code: 'Apache-2.0', weights: 'Apache-2.0' };
const wordmask = {
  recipe: 'recipe.json',
  seed: state.recipe.seed,
  steps: state.step,
  pairs: state.step * state.recipe.batch,
};
const source = 'trained by this package on its drawn scenes';
await writeFile(
  join(target, 'wordmask.json'),
  `${JSON.stringify({ format, system, templates, defaults, licence, source, files, wordmask }, null, 2)}\n`,
);
console.log(`${target}: step ${state.step}, ${tensors.length} tensors, ${files['model.safetensors'].bytes} bytes`);
