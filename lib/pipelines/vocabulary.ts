/** A vocabulary compiled for text encoders: the words of `VocabularySpec` with the features made of them. */
import { dirname, join, parse } from 'node:path';
import type { LegendEntry } from '../formats/format.js';
import { paletteFor } from '../image/palette.js';
import { type Label, type LabelInput, type VocabularyOptions, VocabularySpec } from '../text/index.js';
import { show, WordmaskError } from '../util/errors.js';
import { readFileLimited, sha256, writeFileAtomic } from '../util/files.js';
import { openSafetensors, writeSafetensors } from '../weights/index.js';
import { meanRows } from './text-features.js';

/** Features of all prompts for one encoder. */
export interface CompiledText {
  /** Hash of encoder, templates and averaging. */
  readonly key: string;
  /** Unit rows, one a query. */
  readonly rows: readonly Float32Array[];
  /** One for each text that was cut. */
  readonly warnings: readonly string[];
  /** Hash of the encoder's weights. */
  readonly encoder?: string;
}

/** What a vocabulary file's features are: which words they stand for, and whose they are. */
interface StoredText extends CompiledText {
  readonly file: string;
}

const fileLimit = 64 << 20;

export class Vocabulary {
  readonly #compiled = new Map<string, CompiledText>();
  /** Features of single prompts, from the vocabulary that this one was derived from. */
  readonly #known = new Map<string, ReadonlyMap<string, Float32Array>>();
  /** What the file held, for the question whether it fits an encoder. */
  #stored: StoredText | undefined;
  #legend: LegendEntry[] | undefined;

  constructor(
    readonly spec: VocabularySpec,
    compiled?: CompiledText,
  ) {
    if (compiled) this.#compiled.set(compiled.key, compiled);
  }

  /** Labels without features; they are made when a model first uses them. @throws E_LABEL, E_VOCAB, E_OPTION */
  static from(labels: readonly LabelInput[], options: VocabularyOptions = {}): Vocabulary {
    return new Vocabulary(VocabularySpec.create(labels, options));
  }

  /**
   * Reads a vocabulary file, with the features of the same stem if they are there; `features: false` leaves those alone.
   * @throws E_VOCAB, E_DISK, E_WEIGHTS
   */
  static async load(
    file: string,
    options: { signal?: AbortSignal; limits?: VocabularyOptions['limits']; features?: boolean } = {},
  ): Promise<Vocabulary> {
    const bytes = await readFileLimited(file, { limit: fileLimit, signal: options.signal, code: 'E_VOCAB' });
    const { spec, encoder } = VocabularySpec.fromJSON(bytes, file, options.limits);
    if (encoder === undefined || options.features === false) return new Vocabulary(spec);
    const stored = await readFeatures(featuresPath(file), spec.prompts, encoder);
    const vocabulary = new Vocabulary(spec, stored);
    vocabulary.#stored = stored;
    return vocabulary;
  }

  get labels(): readonly Label[] {
    return this.spec.labels;
  }

  /** SHA-256 of labels, templates and settings. */
  get hash(): string {
    return this.spec.hash;
  }

  /** New vocabulary with more labels; features of the old ones are kept. */
  add(labels: readonly LabelInput[]): Vocabulary {
    return this.#derive(this.spec.add(labels));
  }

  remove(names: readonly string[]): Vocabulary {
    return this.#derive(this.spec.remove(names));
  }

  subset(names: readonly string[]): Vocabulary {
    return this.#derive(this.spec.subset(names));
  }

  /** The same labels with other templates, ensemble or background policy. */
  configure(options: Pick<VocabularyOptions, 'templates' | 'ensemble' | 'background'>): Vocabulary {
    return this.#derive(this.spec.configure(options));
  }

  /** Index of a label by name or index. @throws E_LABEL, E_OPTION */
  indexOf(label: string | number): number {
    if (typeof label === 'string') return this.spec.indexOf(label);
    if (Number.isInteger(label) && label >= 0 && label < this.labels.length) return label;
    throw new WordmaskError(
      'E_LABEL',
      `label index must be a whole number from 0 to ${this.labels.length - 1}, got ${show(label)}`,
    );
  }

  legend(): LegendEntry[] {
    this.#legend ??= makeLegend(this.labels);
    return this.#legend.map((entry) => ({ ...entry }));
  }

  /** Writes `file` (JSON) and, once a model has compiled it, the features beside it. */
  async save(file: string): Promise<void> {
    const compiled = [...this.#compiled.values()].at(-1);
    if (compiled) {
      const width = compiled.rows[0]?.length ?? 0;
      const data = new Float32Array(compiled.rows.length * width);
      compiled.rows.forEach((row, i) => {
        data.set(row, i * width);
      });
      await writeSafetensors(
        featuresPath(file),
        [['text_features', { data, shape: [compiled.rows.length, width], dtype: 'f32' }]],
        {
          metadata: {
            prompts: hashOfPrompts(this.spec.prompts),
            ...(compiled.encoder !== undefined && { encoder: compiled.encoder }),
          },
        },
      );
    }
    await writeFileAtomic(file, `${JSON.stringify(this.spec.toJSON(compiled?.key), null, 2)}\n`);
  }

  toJSON(): Record<string, unknown> {
    return this.spec.toJSON();
  }

  /**
   * Features by encoder, templates and averaging, if they were made; for the pipeline.
   * @param encoder hash of the encoder's weights
   * @throws E_VOCAB when the features of the file belong to another encoder and there are none for this one
   */
  compiled(key: string, encoder: string): CompiledText | undefined {
    const found = this.#compiled.get(key);
    const stored = this.#stored;
    if (found || !stored || (stored.encoder ?? stored.key) === (stored.encoder === undefined ? key : encoder))
      return found;
    throw new WordmaskError(
      'E_VOCAB',
      `${stored.file}: the text features were made by another encoder (${(stored.encoder ?? stored.key).slice(0, 12)}) than this model's (${encoder.slice(0, 12)}): open the model they belong to, or load the vocabulary with features: false`,
      { details: { file: stored.file, encoder: stored.encoder, expected: encoder } },
    );
  }

  /** Features of single prompts that are known already. */
  known(key: string): ReadonlyMap<string, Float32Array> | undefined {
    return this.#known.get(key);
  }

  remember(compiled: CompiledText): void {
    this.#compiled.set(compiled.key, compiled);
  }

  /** Whether features of some encoder came with the file. */
  get encoders(): readonly string[] {
    return [...this.#compiled.keys()];
  }

  /** Lets go of the features. */
  dispose(): void {
    this.#compiled.clear();
    this.#known.clear();
    this.#stored = undefined;
  }
  [Symbol.dispose](): void {
    this.dispose();
  }

  #derive(spec: VocabularySpec): Vocabulary {
    const derived = new Vocabulary(spec);
    for (const [key, rows] of this.#known) derived.#known.set(key, rows);
    for (const { key, rows } of this.#compiled.values()) {
      derived.#known.set(
        key,
        new Map([
          ...(this.#known.get(key) ?? []),
          ...this.spec.prompts.map((prompt, i) => [prompt, rows[i] as Float32Array] as const),
        ]),
      );
    }
    derived.#stored = this.#stored;
    return derived;
  }
}

/** Ties features to the words they stand for: a file of features beside a changed list is refused. */
function hashOfPrompts(prompts: readonly string[]): string {
  return sha256(JSON.stringify(prompts));
}

/** Queries as the read-out takes them: rows of the softmax and the class each counts for. */
export function queriesOf(
  spec: VocabularySpec,
  rows: readonly Float32Array[],
  embed: number,
): { rows: readonly Float32Array[]; classOf: Int32Array; classes: number } {
  const hidden = spec.owners.some((owner) => owner >= spec.labels.length);
  const classes = spec.labels.length + (hidden ? 1 : 0);
  if (spec.ensemble === 'max') return { rows, classOf: spec.owners, classes };
  // One row a class that has prompts; background words, the last rows, stay single: they stand for different things.
  const own = spec.labels.reduce((count, label) => count + label.prompts.length, 0);
  const owners = spec.owners.subarray(0, own);
  const present = [...new Set(owners)];
  const position = new Map(present.map((owner, i) => [owner, i]));
  const means = meanRows(
    rows.slice(0, own),
    owners.map((owner) => position.get(owner) as number),
    present.length,
    embed,
  );
  return {
    rows: [...means, ...rows.slice(own)],
    classOf: Int32Array.from([...present, ...spec.owners.subarray(own)]),
    classes,
  };
}

function featuresPath(file: string): string {
  const { name } = parse(file);
  return join(dirname(file), `${name}.safetensors`);
}

async function readFeatures(path: string, prompts: readonly string[], key: string): Promise<StoredText | undefined> {
  const count = prompts.length;
  let file: Awaited<ReturnType<typeof openSafetensors>>;
  try {
    file = await openSafetensors(path);
  } catch (error) {
    if (error instanceof WordmaskError && error.details.errno === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const { data, shape, dtype } = await file.readArray('text_features');
    if (dtype !== 'f32' || shape.length !== 2 || shape[0] !== count) {
      throw new WordmaskError(
        'E_VOCAB',
        `${path}: text_features must be F32 [${count}, E] to fit the vocabulary beside it, got ${dtype} [${shape.join(', ')}]`,
        { details: { file: path } },
      );
    }
    const written = file.metadata.get('prompts');
    if (written !== undefined && written !== hashOfPrompts(prompts)) {
      throw new WordmaskError(
        'E_VOCAB',
        `${path}: the text features belong to other words than the vocabulary beside it: save both together, or load the vocabulary with features: false`,
        { details: { file: path } },
      );
    }
    const width = shape[1] as number;
    const rows = Array.from({ length: count }, (_, i) => (data as Float32Array).slice(i * width, (i + 1) * width));
    return { file: path, key, rows, warnings: [], encoder: file.metadata.get('encoder') };
  } finally {
    await file.close();
  }
}

function makeLegend(labels: readonly Label[]): LegendEntry[] {
  const colours = paletteFor(labels.map((label) => label.color as [number, number, number] | undefined));
  return labels.map((label, index) => ({
    index,
    name: label.name,
    color: colours[index],
    ...(label.group !== undefined && { group: label.group }),
    ...(label.thing !== undefined && { thing: label.thing }),
  }));
}
