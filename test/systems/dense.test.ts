/** Dense CLIP systems against the authors' published code, stage by stage (data/systems). */
import { readFile } from 'node:fs/promises';
import t, { type Test } from 'tap';
import { open } from '#lib/pipelines/open.js';
import { Vocabulary } from '#lib/pipelines/vocabulary.js';
import { clipTinyFolder, data, type Loaded, loadAll, needsData } from '../helpers/data.js';
import { compare, labelsOf, optionsOf } from '../helpers/system-cases.js';

interface Note {
  classes?: string[][];
  parameters: Record<string, unknown> & { main?: { attention: string; keep_residual_and_mlp: boolean } };
}

const folder = clipTinyFolder;

function vocabularyOf(note: Note): Vocabulary {
  return Vocabulary.from(labelsOf(note.classes ?? []), { templates: 'clip80' });
}

function compareLabels(t: Test, name: string, actual: ArrayLike<number>, want: ArrayLike<number>, share: number): void {
  let different = 0;
  for (let i = 0; i < want.length; i++) if (actual[i] !== want[i]) different++;
  t.ok(different <= share * want.length, `${name}: ${different} of ${want.length} labels differ`);
}

async function caseOf(path: string) {
  const note = JSON.parse(await readFile(data('systems', path, 'note.json'), 'utf8')) as Note;
  return {
    note,
    expected: await loadAll(data('systems', path, 'expected.safetensors')),
    image: data('systems', path, 'image.png'),
  };
}

for (const [system, path] of [
  ['naclip', 'naclip/clip-tiny-slide'],
  ['sclip', 'sclip/clip-tiny-slide'],
] as const) {
  t.test(path, needsData, async (t) => {
    const { note, expected, image } = await caseOf(path);
    const model = await open(`${system}:${await folder()}`);
    const names = [...expected.keys()].filter((name) => name !== 'label_map' && !name.startsWith('label_map'));
    const labelNames = [...expected.keys()].filter((name) => name.startsWith('label_map'));
    const found = await model.trace(image, vocabularyOf(note), [...names, ...labelNames], optionsOf(note));
    for (const name of names) compare(t, name, found[name], expected.get(name) as Loaded, 1e-4);
    for (const name of labelNames)
      compareLabels(t, name, found[name]?.data ?? [], (expected.get(name) as Loaded).data, 0);
    await model.dispose();
  });
}

for (const path of ['clearclip/clip-tiny-slide', 'maskclip/clip-tiny-slide']) {
  t.test(path, needsData, async (t) => {
    const { note, expected, image } = await caseOf(path);
    const model = await open(`clearclip:${await folder()}`);
    const { main } = note.parameters;
    const mainOptions = {
      attention: main?.attention,
      residual: main?.keep_residual_and_mlp,
      ffn: main?.keep_residual_and_mlp,
    };
    const plain = [...expected.keys()].filter((name) => !/^(window_logits_lowres|label_map)\./.test(name));
    const found = await model.trace(image, vocabularyOf(note), plain, { ...optionsOf(note), ...mainOptions });
    for (const name of plain) compare(t, name, found[name], expected.get(name) as Loaded, 1e-4);
    for (const [name, want] of expected) {
      const match = /^(window_logits_lowres|label_map)\.(\w+)\.(no_residual|residual)$/.exec(name);
      if (!match) continue;
      const [, value, attention, residual] = match as unknown as [string, string, string, string];
      const keep = residual === 'residual';
      const got = (
        await model.trace(image, vocabularyOf(note), [value], {
          ...optionsOf(note),
          attention,
          residual: keep,
          ffn: keep,
        })
      )[value];
      if (value === 'label_map') compareLabels(t, name, got?.data ?? [], want.data, 0);
      else compare(t, name, got, want, 1e-4);
    }
    await model.dispose();
  });
}

t.test('maskclip/clip-tiny-original', needsData, async (t) => {
  const { note, expected, image } = await caseOf('maskclip/clip-tiny-original');
  const model = await open(`maskclip:${await folder()}`);
  const features = expected.get('text_features') as Loaded;
  const labels = Array.from({ length: features.shape[0] as number }, (_, i) => `class ${i}`);
  const variants = note.parameters.variants as Record<
    string,
    { key_smoothing_threshold: number; prompt_denoising_threshold: number }
  >;
  for (const [name, want] of expected) {
    const [value, activation, variant] = name.split('.') as [string, string, string | undefined];
    if (name === 'text_features') continue;
    const settings = variants[variant ?? 'plain'];
    const found = await model.trace(image, Vocabulary.from(labels), [value], {
      preset: 'maskclip-original',
      shortSide: note.parameters.short_side,
      ...(activation && { activation }),
      textFeatures: features as { data: Float32Array; shape: number[] },
      keySmoothing: settings?.key_smoothing_threshold,
      promptDenoising: settings?.prompt_denoising_threshold,
    });
    if (value === 'label_map') compareLabels(t, name, found[value]?.data ?? [], want.data, 0);
    else compare(t, name, found[value], want, 1e-4);
  }
  await model.dispose();
});

t.test('naclip/clip-tiny-variants', needsData, async (t) => {
  const expected = await loadAll(data('systems/naclip/clip-tiny-variants/expected.safetensors'));
  const model = await open(`naclip:${await folder()}`);
  for (const [name, want] of expected) {
    const [value, input, ...rest] = name.split('.') as [string, string, ...string[]];
    if (value === 'input') continue;
    const pixels = expected.get(`input.${input}`) as unknown as { data: Float32Array; shape: number[] };
    const [arch, attention, ...sigma] =
      value === 'omega'
        ? ['reduced', 'naclip', ...rest]
        : value === 'position_table'
          ? ['reduced', 'naclip', '5']
          : rest;
    const found = await model.trace(pixels as never, ['x'], [value], {
      arch,
      attention,
      sigma: Number(sigma.join('.')),
    });
    compare(t, name, found[value], want, 1e-4);
  }
  await model.dispose();
});
