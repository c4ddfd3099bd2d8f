/** Steps that several commands share: options to a model, to a vocabulary, to the options of `segment`. */
import { labelFormat } from '../formats/index.js';
import type { Model } from '../pipelines/model.js';
import type { SegmentOptions } from '../pipelines/segment-options.js';
import type { Vocabulary } from '../pipelines/vocabulary.js';
import { defaultModel } from '../registry/builtin.js';
import type { LabelInput, VocabularyOptions } from '../text/index.js';
import { show, WordmaskError } from '../util/errors.js';
import { readLabels } from './label-list.js';
import type { Output } from './output.js';
import type { Context } from './run.js';

export type Options = Context['options'];

export function textOption(options: Options, name: string): string | undefined {
  return options[name] as string | undefined;
}

/** The model's name: that of `-m`, else the built-in one, which is said. */
export function chosenModel(options: Options, output: Output): string {
  const name = textOption(options, 'model');
  if (name !== undefined && name !== '') return name;
  output.note(
    `no model was named: using the built-in '${defaultModel}', which knows drawn scenes; for photographs name a CLIP: -m openai/clip-vit-base-patch16`,
  );
  return defaultModel;
}

/** Opens the model of `-m`, `--system` and the rest. */
export async function openModel(name: string, options: Options, output: Output, signal: AbortSignal): Promise<Model> {
  const { open } = await import('../pipelines/open.js');
  const { device, dtype, memory, threads, cacheDir, revision, download, checkWeights, system, base, encoders } =
    options;
  const given = { device, dtype, memory, threads, cacheDir, revision, download, checkWeights, system, base, encoders };
  output.detail(`opening ${name}`);
  const started = performance.now();
  const onLog = (text: string, level: 'info' | 'warning'): void =>
    level === 'warning' ? output.warn(text) : output.detail(text);
  const model = await open(name, { ...definedOnly(given), signal, onLog });
  output.detail(`opened ${name} in ${Math.round(performance.now() - started)} ms`);
  return model;
}

function definedOnly(values: Record<string, unknown>): Record<string, never> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Record<string, never>;
}

/** The words of `-l`, `-V` and `--from` with their settings, checked, without features. @throws E_USAGE, E_LABEL, E_VOCAB, E_OPTION */
export async function readVocabulary(options: Options): Promise<Vocabulary> {
  const { Vocabulary } = await import('../pipelines/vocabulary.js');
  const settings = vocabularyOptions(options);
  const file = textOption(options, 'vocab');
  const extra = options.labels === undefined ? undefined : await readLabels(options.labels);
  if (file !== undefined) {
    if (options.from !== undefined) throw new WordmaskError('E_USAGE', 'give --vocab or --from, not both');
    const loaded = await Vocabulary.load(file, { limits: settings.limits });
    const { templates, ensemble, background } = settings;
    const changed = templates !== undefined || ensemble !== undefined || background !== undefined;
    const set = changed ? loaded.configure({ templates, ensemble, background }) : loaded;
    return extra === undefined ? set : set.add(extra);
  }
  if (options.from === undefined && extra === undefined)
    throw new WordmaskError('E_USAGE', 'no words were given: use -l cat,dog or -V vocab.json or --from voc21');
  const listed = options.from === undefined ? [] : await labelsOfList(textOption(options, 'from') as string);
  return Vocabulary.from([...listed, ...(extra ?? [])], settings);
}

/** Labels of a published class list. @throws E_OPTION */
export async function labelsOfList(name: string): Promise<LabelInput[]> {
  const { classList } = await import('../text/index.js');
  return classList(name).map(({ name: label, prompts, color, thing, background }) => ({
    name: label,
    prompts,
    ...(color && { color }),
    ...(thing !== undefined && { thing }),
    ...(background && { background }),
  }));
}

export function vocabularyOptions(options: Options): VocabularyOptions {
  const { templates, ensemble } = options;
  const limits = definedOnly({
    labels: options.limitLabels,
    labelBytes: options.limitLabelBytes,
    prompts: options.limitPrompts,
    templates: options.limitTemplates,
  });
  const single = typeof templates === 'string' && templates.includes('{}');
  return {
    ...(templates !== undefined && { templates: (single ? [templates] : templates) as VocabularyOptions['templates'] }),
    ...(ensemble !== undefined && { ensemble: ensemble as 'max' | 'mean' }),
    ...(options.background !== undefined && { background: parseBackgroundOption(options.background) }),
    limits,
  };
}

/** `none`, `threshold:0.4`, `prompts:sky,wall`, or the object of a config file. @throws E_OPTION */
export function parseBackgroundOption(value: unknown): VocabularyOptions['background'] {
  if (typeof value !== 'string') return value as VocabularyOptions['background'];
  const colon = value.indexOf(':');
  const mode = colon < 0 ? value : value.slice(0, colon);
  const rest = colon < 0 ? undefined : value.slice(colon + 1);
  if (mode === 'prompts')
    return rest === undefined ? { mode } : { mode, prompts: rest.split(',').map((word) => word.trim()) };
  if (mode !== 'threshold' && mode !== 'margin') {
    if (rest !== undefined)
      throw new WordmaskError('E_OPTION', `--background ${mode} takes no value, got ${show(value)}`);
    // An unknown mode is refused, with the known ones, where the vocabulary is made.
    return { mode } as VocabularyOptions['background'];
  }
  const number = rest === undefined || rest.trim() === '' ? Number.NaN : Number(rest);
  if (Number.isNaN(number))
    throw new WordmaskError(
      'E_OPTION',
      `--background ${mode} needs a number from 0 to 1, such as ${mode}:0.4, got ${show(value)}`,
    );
  return { mode, value: number };
}

/** Options of `segment`; those of --set win, as they are the most particular. */
export function segmentOptions(options: Options): SegmentOptions {
  const { task, preset, size, maxSide, window, stride, refine, threshold, minArea, topk, timeout, imageFormats } =
    options;
  const limits = definedOnly({
    pixels: options.limitPixels,
    fileBytes: options.limitFileBytes,
    side: options.limitSide,
  });
  return {
    ...definedOnly({
      task,
      preset,
      size,
      maxSide,
      window,
      stride,
      refine,
      threshold,
      minArea,
      outputs: planesOf(options),
      k: topk,
      timeoutMs: timeout,
    }),
    ...(imageFormats !== undefined && { formats: imageFormats as never }),
    ...(Object.keys(limits).length > 0 && { limits }),
    ...(options.set as Record<string, unknown> | undefined),
  };
}

/** Planes to compute: those asked for, and the one that npy is to hold. */
function planesOf({ outputs, plane }: Options): readonly string[] | undefined {
  const list = (outputs as readonly string[] | undefined) ?? [];
  const all = plane === undefined || plane === 'labels' ? list : [...new Set([...list, plane as string])];
  return all.length > 0 ? all : undefined;
}

/** Formats of `-f` and `--overlay`, each once, checked. @throws E_OPTION */
export function formatList(options: Options): string[] {
  const named = (options.format as readonly string[] | undefined) ?? ['png'];
  const formats = [...new Set([...named, ...(options.overlay ? ['overlay'] : [])])];
  for (const format of formats) labelFormat(format);
  if (formats.length === 0) throw new WordmaskError('E_OPTION', '--format names no format');
  return formats;
}
