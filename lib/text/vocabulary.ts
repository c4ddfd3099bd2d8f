/**
 * The text of a vocabulary, without features: ordered labels, prompt templates, how prompts of one label join, and what counts
 * as background. Immutable: changes return new ones. The features that an encoder makes of it live in the pipelines.
 */
import { type ErrorCode, show, WordmaskError } from '../util/errors.js';
import { sha256 } from '../util/files.js';
import { canonicalJson, parseJsonStrict } from '../util/json.js';
import { nearest } from '../util/nearest.js';
import { type BackgroundInput, type BackgroundPolicy, parseBackground } from './background.js';
import { cleanText, defaultLimits, type Label, type LabelInput, parseLabel, type VocabularyLimits } from './label.js';
import { classList, templateSet } from './lists.js';

export const vocabularyFormat = 'wordmask-vocabulary/1';

export type Ensemble = 'max' | 'mean';

export interface VocabularyOptions {
  /** Name of a set (`clip80`, `vild-14`, ...) or templates with one `{}` each; undefined: the system's own set. */
  templates?: string | readonly string[];
  /** How prompts of one label join (default `max`). */
  ensemble?: Ensemble;
  /** Default `auto`. */
  background?: BackgroundInput;
  limits?: Partial<VocabularyLimits>;
}

/** Prompt templates; `name` where they came as a named set. */
export interface TemplateChoice {
  readonly name?: string;
  readonly list: readonly string[];
}

/** A parsed vocabulary file. */
export interface VocabularyFile {
  readonly spec: VocabularySpec;
  /** Hash of the text encoder that the features beside the file belong to. */
  readonly encoder?: string;
}

export class VocabularySpec {
  /** Q labels. */
  readonly labels: readonly Label[];
  /** Undefined: the system's own set and averaging rule. */
  readonly templates: TemplateChoice | undefined;
  readonly ensemble: Ensemble;
  readonly background: BackgroundPolicy;
  /** The S prompts of all labels in label order, then the words of a `prompts` background. */
  readonly prompts: readonly string[];
  /** [S] label of each prompt; Q ("nothing") for background words where no label is marked `background`. */
  readonly owners: Int32Array;
  /** Index of the label marked `background`, or -1. */
  readonly backgroundIndex: number;
  private readonly limits: Readonly<VocabularyLimits>;
  private cachedHash: string | undefined;

  private constructor(
    labels: readonly Label[],
    templates: TemplateChoice | undefined,
    ensemble: Ensemble,
    background: BackgroundPolicy,
    limits: Readonly<VocabularyLimits>,
  ) {
    checkList(labels, limits);
    this.labels = Object.freeze([...labels]);
    this.templates = templates;
    this.ensemble = ensemble;
    this.limits = limits;
    this.backgroundIndex = labels.findIndex((label) => label.background);
    this.background =
      background.mode === 'prompts'
        ? {
            mode: 'prompts',
            prompts: [
              ...new Set(background.prompts.map((word) => cleanText(word, 'background.prompts', limits.labelBytes))),
            ],
          }
        : background;
    const rows = labels.flatMap((label, owner) => label.prompts.map((prompt) => [prompt, owner] as const));
    if (rows.length === 0)
      throw new WordmaskError(
        'E_VOCAB',
        'the vocabulary has no words: all its labels are background without prompts; add a label',
      );
    if (this.background.mode === 'prompts') {
      const owner = this.backgroundIndex >= 0 ? this.backgroundIndex : labels.length;
      rows.push(...this.background.prompts.map((prompt) => [prompt, owner] as const));
    }
    this.prompts = rows.map(([prompt]) => prompt);
    this.owners = Int32Array.from(rows, ([, owner]) => owner);
  }

  /**
   * @param labels texts (`dog|puppy`) or objects
   * @throws E_LABEL for a label that is empty, ill-formed, too long or given twice; E_VOCAB for no or too many labels or
   * prompts; E_OPTION for wrong templates, ensemble or background
   */
  static create(labels: readonly LabelInput[], options: VocabularyOptions = {}): VocabularySpec {
    const limits = { ...defaultLimits, ...options.limits };
    if (!Array.isArray(labels)) throw new WordmaskError('E_USAGE', `labels must be a list, got ${show(labels)}`);
    checkCount(labels.length, limits);
    const parsed = labels.map((label, at) => parseLabel(label, at, limits));
    const { ensemble = 'max' } = options;
    if (ensemble !== 'max' && ensemble !== 'mean')
      throw new WordmaskError('E_OPTION', `ensemble must be one of max, mean, got ${show(ensemble)}`, {
        details: { option: 'ensemble', value: ensemble },
      });
    return new VocabularySpec(
      parsed,
      parseTemplates(options.templates, limits),
      ensemble,
      parseBackground(options.background ?? 'auto'),
      limits,
    );
  }

  /** The labels of a published class list (`voc21`, `coco-stuff`, `ade150-synonyms`, ...). @throws E_OPTION for an unknown name */
  static fromClasses(name: string, options: VocabularyOptions = {}): VocabularySpec {
    return VocabularySpec.create(classList(name), options);
  }

  /** Labels at the end. @throws as `create` */
  add(labels: readonly LabelInput[]): VocabularySpec {
    checkCount(this.labels.length + labels.length, this.limits);
    return this.with([
      ...this.labels,
      ...labels.map((label, at) => parseLabel(label, this.labels.length + at, this.limits)),
    ]);
  }

  /** Without the named labels. @throws E_OPTION for a name that is not there, E_VOCAB when none stays */
  remove(names: readonly string[]): VocabularySpec {
    const gone = new Set(names.map((name) => this.indexOf(name)));
    return this.with(this.labels.filter((_, index) => !gone.has(index)));
  }

  /** The named labels in the order given. @throws E_OPTION for a name that is not there, E_VOCAB for none */
  subset(names: readonly string[]): VocabularySpec {
    return this.with(names.map((name) => this.labels[this.indexOf(name)] as Label));
  }

  /** The same labels with other settings. */
  configure(options: Pick<VocabularyOptions, 'templates' | 'ensemble' | 'background'>): VocabularySpec {
    return new VocabularySpec(
      this.labels,
      options.templates === undefined ? this.templates : parseTemplates(options.templates, this.limits),
      options.ensemble ?? this.ensemble,
      options.background === undefined ? this.background : parseBackground(options.background),
      this.limits,
    );
  }

  private with(labels: readonly Label[]): VocabularySpec {
    return new VocabularySpec(labels, this.templates, this.ensemble, this.background, this.limits);
  }

  /** Index of a label by name, as given or in another case. @throws E_OPTION with the nearest name */
  indexOf(name: string): number {
    const wanted = key(String(name));
    const index = this.labels.findIndex((label) => key(label.name) === wanted);
    if (index >= 0) return index;
    const hint = nearest(
      String(name),
      this.labels.map((label) => label.name),
    );
    throw new WordmaskError(
      'E_OPTION',
      `the vocabulary has no label ${show(name)}${hint ? `; did you mean ${show(hint)}?` : ''}`,
      { details: { value: name } },
    );
  }

  /** SHA-256 of the content: equal for equal labels, templates and settings, whether a template set came by name or as a list. */
  get hash(): string {
    this.cachedHash ??= sha256(
      canonicalJson({
        labels: this.labels,
        templates: this.templates?.list ?? null,
        ensemble: this.ensemble,
        background: this.background,
      }),
    );
    return this.cachedHash;
  }

  /** The content of a vocabulary file. @param encoder hash of the encoder whose features stand beside it */
  toJSON(encoder?: string): Record<string, unknown> {
    return {
      format: vocabularyFormat,
      labels: this.labels.map((label) => ({ ...label })),
      templates: this.templates ? (this.templates.name ?? [...this.templates.list]) : null,
      ensemble: this.ensemble,
      background: this.background,
      ...(encoder === undefined ? {} : { encoder }),
    };
  }

  /**
   * Reads the content of a vocabulary file, from bytes, text or the parsed object.
   * @param what the file, for messages
   * @throws E_VOCAB for another format or unknown keys; as `create`
   */
  static fromJSON(
    source: Uint8Array | string | Record<string, unknown>,
    what = 'vocabulary',
    limits?: Partial<VocabularyLimits>,
  ): VocabularyFile {
    const value =
      typeof source === 'string' || source instanceof Uint8Array
        ? parseJsonStrict(source, { code: 'E_VOCAB', what })
        : source;
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw fileError(what, 'is not a JSON object');
    const { format, labels, templates, ensemble, background, encoder, ...rest } = value as Record<string, unknown>;
    if (format !== vocabularyFormat)
      throw fileError(what, `has the format ${show(format)}, needs ${show(vocabularyFormat)}`);
    // `wordmask` is the provenance that every written file carries.
    const unknown = Object.keys(rest).filter((name) => name !== 'wordmask');
    if (unknown.length > 0)
      throw fileError(
        what,
        `has unknown keys: ${unknown
          .slice(0, 8)
          .map((name) => show(name))
          .join(', ')}`,
      );
    if (!Array.isArray(labels)) throw fileError(what, `needs a list of labels, got ${show(labels)}`);
    if (encoder !== undefined && (typeof encoder !== 'string' || !/^[0-9a-f]{64}$/.test(encoder)))
      throw fileError(what, `has the encoder hash ${show(encoder)}, needs 64 hexadecimal digits`);
    const spec = VocabularySpec.create(labels as LabelInput[], {
      templates: templates === null ? undefined : (templates as VocabularyOptions['templates']),
      ensemble: ensemble as Ensemble | undefined,
      background: background as BackgroundInput | undefined,
      limits,
    });
    return { spec, ...(encoder === undefined ? {} : { encoder }) };
  }
}

function fileError(what: string, text: string): WordmaskError {
  return new WordmaskError('E_VOCAB', `${what} ${text}`, { details: { file: what } });
}

function checkCount(count: number, limits: Readonly<VocabularyLimits>): void {
  if (count === 0)
    throw new WordmaskError('E_VOCAB', 'the vocabulary has no labels: give at least one', { details: { value: 0 } });
  if (count > limits.labels)
    throw new WordmaskError('E_VOCAB', `the vocabulary has ${count} labels, the limit is ${limits.labels}`, {
      details: { value: count, limit: limits.labels },
    });
}

/** Names that differ in case alone give the same tokens, so the second could never win. */
function key(name: string): string {
  return name
    .normalize('NFC')
    .replace(/\p{White_Space}+/gu, ' ')
    .trim()
    .toLowerCase();
}

function checkList(labels: readonly Label[], limits: Readonly<VocabularyLimits>): void {
  checkCount(labels.length, limits);
  const seen = new Map<string, number>();
  const twice = new Set<string>();
  labels.forEach((label, index) => {
    if (seen.has(key(label.name))) twice.add(label.name);
    seen.set(key(label.name), index);
  });
  if (twice.size > 0) {
    const names = [...twice];
    const more = names.length > 20 ? `, and ${names.length - 20} more` : '';
    throw new WordmaskError(
      'E_LABEL',
      `labels given twice: ${names
        .slice(0, 20)
        .map((name) => show(name))
        .join(', ')}${more}; join their words with "|" or leave one out`,
      { details: { names } },
    );
  }
  const backgrounds = labels.filter((label) => label.background);
  if (backgrounds.length > 1)
    throw new WordmaskError(
      'E_VOCAB',
      `more than one label is marked as background: ${backgrounds
        .slice(0, 20)
        .map((label) => show(label.name))
        .join(', ')}; mark one`,
    );
}

function parseTemplates(input: unknown, limits: Readonly<VocabularyLimits>): TemplateChoice | undefined {
  if (input === undefined) return undefined;
  if (typeof input === 'string') return { name: input, list: templateSet(input) };
  const option = (text: string, value: unknown, code: ErrorCode = 'E_OPTION'): WordmaskError =>
    new WordmaskError(code, `templates ${text}`, { details: { option: 'templates', value } });
  if (!Array.isArray(input) || input.length === 0)
    throw option(`must be the name of a set or a list that is not empty, got ${show(input)}`, input);
  if (input.length > limits.templates)
    throw option(`are ${input.length}, the limit is ${limits.templates}`, input.length);
  return {
    list: input.map((template, at) => {
      const text = cleanText(template, `template ${at}`, limits.labelBytes, 'E_OPTION');
      if (text.split('{}').length !== 2)
        throw option(
          `need exactly one {} each, where the word goes: ${show(text)} has ${text.split('{}').length - 1}`,
          text,
        );
      return text;
    }),
  };
}

/** The sentence that a template makes of a word; `$` and braces in the word mean nothing. */
export function fillTemplate(template: string, word: string): string {
  const at = template.indexOf('{}');
  return at < 0 ? template : template.slice(0, at) + word + template.slice(at + 2);
}
