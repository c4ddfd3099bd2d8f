/** `wordmask vocab build|show|diff`. */
import { existsSync } from 'node:fs';
import type { Vocabulary } from '../../pipelines/vocabulary.js';
import type { Label } from '../../text/index.js';
import { WordmaskError } from '../../util/errors.js';
import { canonicalJson } from '../../util/json.js';
import { exit } from '../exit-codes.js';
import { count, table } from '../output.js';
import { Progress } from '../progress.js';
import type { Context } from '../run.js';
import { labelsOfList, type Options, openModel, readVocabulary, textOption, vocabularyOptions } from '../setup.js';

export async function vocabBuild({ args, options, output, interrupt }: Context): Promise<number> {
  if (args.length > 0)
    throw new WordmaskError('E_USAGE', `vocab build takes no argument, got ${args.join(' ')}: labels go to -l`);
  const vocab = await readVocabulary(options);
  const file = textOption(options, 'output') ?? '-';
  const modelName = textOption(options, 'model');
  if (modelName !== undefined) {
    if (file === '-')
      throw new WordmaskError(
        'E_USAGE',
        'compiling with -m writes features beside the file: name it with -o vocab.json',
      );
    await using model = await openModel(modelName, options, output, interrupt.signal);
    const progress = new Progress(output, vocab.spec.prompts.length, 'prompts');
    await model.vocabulary(vocab, { signal: interrupt.signal, onProgress: (done) => progress.update(done) });
    progress.end();
    await vocab.save(file);
  } else if (file !== '-') await vocab.save(file);
  else output.line(JSON.stringify(vocab.toJSON(), null, 2));
  if (file !== '-') {
    if (output.json)
      output.value({
        file,
        hash: vocab.hash,
        labels: vocab.labels.length,
        prompts: vocab.spec.prompts.length,
        compiled: vocab.encoders.length > 0,
      });
    else
      output.note(
        `${file}: ${count(vocab.labels.length, 'label')}, ${count(vocab.spec.prompts.length, 'prompt')}${vocab.encoders.length > 0 ? ', with text features' : ''}`,
      );
  }
  return exit.done;
}

export async function vocabShow({ args, options, output }: Context): Promise<number> {
  const vocab = await namedVocabulary(args[0] as string, options);
  const { templates, ensemble, background, prompts } = vocab.spec;
  if (output.json) {
    output.value({ ...vocab.toJSON(), hash: vocab.hash, encoders: vocab.encoders });
    return exit.done;
  }
  const rows = vocab.labels.map((label, i) => [String(i), label.name, label.prompts.join(' | '), marks(label)]);
  for (const line of table(rows, [0])) output.line(line);
  const choice =
    templates === undefined ? "the system's own" : (templates.name ?? `${templates.list.length} of its own`);
  output.line(
    `${count(vocab.labels.length, 'label')}, ${count(prompts.length, 'prompt')}; templates: ${choice}; ensemble: ${ensemble}; background: ${policyText(background)}`,
  );
  output.line(
    `hash ${vocab.hash}${vocab.encoders.length > 0 ? `, features for ${vocab.encoders.join(', ')}` : ', no features'}`,
  );
  return exit.done;
}

function policyText(policy: Vocabulary['spec']['background']): string {
  const { mode, ...rest } = policy;
  return 'value' in rest
    ? `${mode} ${rest.value}`
    : 'prompts' in rest
      ? `${mode} (${rest.prompts.length} words)`
      : mode;
}

function marks({ background, thing, group, color }: Label): string {
  return [
    background && 'background',
    thing === true && 'thing',
    thing === false && 'stuff',
    group && `group ${group}`,
    color && `rgb ${color.join(' ')}`,
  ]
    .filter(Boolean)
    .join(', ');
}

export async function vocabDiff({ args, options, output }: Context): Promise<number> {
  const [a, b] = await Promise.all([
    namedVocabulary(args[0] as string, options),
    namedVocabulary(args[1] as string, options),
  ]);
  const difference = compare(a, b);
  if (output.json) {
    output.value(difference);
    return exit.done;
  }
  for (const name of difference.removed) output.line(output.style('red', `- ${name}`));
  for (const name of difference.added) output.line(output.style('green', `+ ${name}`));
  for (const { name, from, to } of difference.changed)
    output.line(output.style('yellow', `~ ${name}: ${from} -> ${to}`));
  for (const { setting, from, to } of difference.settings)
    output.line(output.style('yellow', `~ ${setting}: ${from} -> ${to}`));
  if (difference.reordered) output.line('~ the labels that both have stand in another order');
  output.line(
    difference.equal
      ? 'the vocabularies are equal'
      : `${difference.removed.length} removed, ${difference.added.length} added, ${difference.changed.length} changed, ${difference.kept} as before`,
  );
  return exit.done;
}

export function compare(a: Vocabulary, b: Vocabulary) {
  const [left, right] = [byName(a), byName(b)];
  const shared = [...left.keys()].filter((name) => right.has(name));
  const changed = shared.flatMap((name) => {
    const [from, to] = [left, right].map((side) => canonicalJson({ ...side.get(name) }));
    return from === to ? [] : [{ name, from: from as string, to: to as string }];
  });
  const settingsOf = ({ spec }: Vocabulary): Record<string, unknown> => ({
    templates: spec.templates?.name ?? spec.templates?.list ?? null,
    ensemble: spec.ensemble,
    background: spec.background,
  });
  const [before, after] = [settingsOf(a), settingsOf(b)];
  const settings = Object.keys(before)
    .map((setting) => ({ setting, from: canonicalJson(before[setting]), to: canonicalJson(after[setting]) }))
    .filter(({ from, to }) => from !== to);
  const order = [...right.keys()].filter((name) => left.has(name));
  return {
    equal: a.hash === b.hash,
    hashes: [a.hash, b.hash],
    removed: [...left.keys()].filter((name) => !right.has(name)),
    added: [...right.keys()].filter((name) => !left.has(name)),
    changed,
    settings,
    reordered: order.some((name, i) => name !== shared[i]),
    kept: shared.length - changed.length,
  };
}

function byName({ labels }: Vocabulary): Map<string, Label> {
  return new Map(labels.map((label) => [label.name, label]));
}

/** A vocabulary file, or a published list by its name. @throws E_USAGE, E_VOCAB, E_OPTION */
async function namedVocabulary(name: string, options: Options): Promise<Vocabulary> {
  const { Vocabulary } = await import('../../pipelines/vocabulary.js');
  const settings = vocabularyOptions(options);
  if (existsSync(name) || /[./\\]/.test(name)) return Vocabulary.load(name, { limits: settings.limits });
  return Vocabulary.from(await labelsOfList(name), settings);
}
