/** Named class lists and prompt template sets, read from assets/ when first asked for. */
import { readAssetJson } from '../util/assets.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';

/** Public name -> stem of the file in assets/classes. */
const listFiles: Readonly<Record<string, string>> = {
  voc21: 'voc21',
  voc20: 'voc20',
  pc59: 'context59',
  pc60: 'context60',
  pc459: 'context459',
  'coco-object': 'coco-object',
  'coco-stuff': 'coco-stuff171',
  'coco-panoptic': 'coco-panoptic133',
  cityscapes: 'cityscapes19',
  ade150: 'ade150',
  ade847: 'ade847',
  'ade-panoptic': 'ade150-panoptic',
  'ade150-pnp-ovss': 'ade150-names-pnp-ovss',
  'simzss-concepts': 'simzss-concept-bank',
  camvid: 'camvid',
  loveda: 'loveda',
  'drawn-scenes': 'drawn-scenes',
};
const variants: Readonly<Record<string, readonly string[]>> = {
  voc21: ['synonyms', 'queries-sclip'],
  voc20: ['queries-sclip'],
  pc59: ['synonyms'],
  pc459: ['synonyms'],
  'coco-object': ['queries-sclip'],
  'coco-stuff': ['synonyms', 'queries-sclip'],
  cityscapes: ['synonyms', 'queries-sclip'],
  ade150: ['synonyms', 'queries-sclip'],
  ade847: ['synonyms'],
  'drawn-scenes': ['synonyms'],
};
/** Synonyms that stand in the list's own file. */
const inlineSynonyms = 'coco-panoptic-synonyms';
/** Palettes of a list with a background serve the same list without it. */
const paletteOf: Readonly<Record<string, readonly [stem: string, from: number]>> = {
  voc20: ['voc21', 1],
  pc59: ['context60', 1],
};

/** One class of a list: its name and, where the list has them, all words for it, colour and whether it is a countable thing. */
export interface ClassEntry {
  readonly name: string;
  /** Words in the list's order; the name alone where the list knows no others. Empty for a background class that is not worded. */
  readonly prompts: readonly string[];
  readonly color?: readonly [number, number, number];
  readonly thing?: boolean;
  readonly background?: boolean;
}

type RawEntry =
  | string
  | readonly string[]
  | { name: string; isthing?: number; color?: [number, number, number]; synonyms?: readonly string[] };

const files: ReadonlyMap<string, string> = new Map(
  Object.entries(listFiles)
    .flatMap(([name, stem]) => [
      [name, stem] as const,
      ...(variants[name] ?? []).map((suffix) => [`${name}-${suffix}`, `${stem}-${suffix}`] as const),
    ])
    .concat([[inlineSynonyms, 'coco-panoptic133']]),
);

/** All names that `classList` knows. */
export function classListNames(): string[] {
  return [...files.keys()];
}

/**
 * A class list by its public name, e.g. `voc21`, `ade150`, `pc59-synonyms`, `coco-object-queries-sclip`. The class
 * "background" at index 0 is marked; lists without words for it leave it without prompts, because it is never embedded.
 * @throws E_OPTION with the nearest name
 */
export function classList(name: string): readonly ClassEntry[] {
  const known = lists.get(name);
  if (known) return known;
  const stem = files.get(name);
  if (stem === undefined) {
    const hint = nearest(name, files.keys());
    throw new WordmaskError(
      'E_OPTION',
      `no class list is named ${show(name)}${hint ? `; did you mean ${show(hint)}?` : ''} (known: ${[...files.keys()].join(', ')})`,
      { details: { value: name } },
    );
  }
  const base = name.replace(/-(synonyms|queries-sclip)$/, '');
  const [paletteStem, first] = paletteOf[base] ?? [listFiles[base] as string, 0];
  const palette = palettes()[paletteStem];
  const plain = base === name ? undefined : classList(base);
  const entries = readAssetJson<readonly RawEntry[]>(`classes/${stem}.json`).map((raw, index) =>
    toEntry(raw, plain?.[index], palette?.[index + first]),
  );
  lists.set(name, Object.freeze(entries));
  return entries;
}

const lists = new Map<string, readonly ClassEntry[]>();
let paletteFile: Readonly<Record<string, readonly (readonly [number, number, number])[]>> | undefined;

function palettes(): Readonly<Record<string, readonly (readonly [number, number, number])[]>> {
  paletteFile ??= readAssetJson<NonNullable<typeof paletteFile>>('classes/palettes.json');
  return paletteFile;
}

function toEntry(
  raw: RawEntry,
  plain: ClassEntry | undefined,
  color: readonly [number, number, number] | undefined,
): ClassEntry {
  if (typeof raw !== 'string' && !Array.isArray(raw)) {
    const entry = raw as Exclude<RawEntry, string | readonly string[]>;
    return {
      name: entry.name,
      prompts: (plain && entry.synonyms) ?? [entry.name],
      color: entry.color ?? color,
      thing: entry.isthing === undefined ? undefined : entry.isthing !== 0,
    };
  }
  const words = typeof raw === 'string' ? [raw] : (raw as readonly string[]);
  const name = plain?.name ?? (words[0] as string);
  const background = name === 'background';
  // A few words occur twice in the published lists, which changes nothing when prompts are joined.
  const prompts = background && typeof raw === 'string' ? [] : [...new Set(words)];
  return { name, prompts, color: color ?? plain?.color, thing: plain?.thing, ...(background ? { background } : {}) };
}

interface TemplateFile {
  readonly sets: Readonly<Record<string, readonly string[]>>;
  readonly averaging: Readonly<Record<string, readonly string[]>>;
}

let templateFile: TemplateFile | undefined;

function loadTemplates(): TemplateFile {
  templateFile ??= readAssetJson<TemplateFile>('templates.json');
  return templateFile;
}

/** Short names for the sets that most users want. */
export const templateAliases: Readonly<Record<string, string>> = {
  none: 'identity',
  photo: 'simple',
  clip7: 'imagenet-subset-7',
  clip80: 'imagenet-80',
};

export function templateSetNames(): string[] {
  return [...Object.keys(templateAliases), ...Object.keys(loadTemplates().sets)];
}

/** A set of prompt templates by name or alias. @throws E_OPTION with the nearest name */
export function templateSet(name: string): readonly string[] {
  const { sets } = loadTemplates();
  const key = Object.hasOwn(templateAliases, name) ? (templateAliases[name] as string) : name;
  if (Object.hasOwn(sets, key)) return sets[key] as readonly string[];
  const known = templateSetNames();
  const hint = nearest(String(name), known);
  throw new WordmaskError(
    'E_OPTION',
    `no template set is named ${show(name)}${hint ? `; did you mean ${show(hint)}?` : ''} (known: ${known.join(', ')})`,
    { details: { option: 'templates', value: name } },
  );
}

/** An object whose values are read when first used: names can be listed and looked up as on a plain object. */
function lazyRecord<T>(names: () => readonly string[], get: (name: string) => T): Readonly<Record<string, T>> {
  return new Proxy(Object.create(null) as Record<string, T>, {
    get: (_, key) => (typeof key === 'string' && names().includes(key) ? get(key) : undefined),
    has: (_, key) => typeof key === 'string' && names().includes(key),
    ownKeys: () => [...names()],
    getOwnPropertyDescriptor: (_, key) =>
      typeof key === 'string' && names().includes(key)
        ? { configurable: true, enumerable: true, writable: false, value: get(key) }
        : undefined,
    set: () => false,
    defineProperty: () => false,
  });
}

/** Prompt templates by set name or alias: `templates.clip80`, `templates['vild-14']`. */
export const templates: Readonly<Record<string, readonly string[]>> = lazyRecord(templateSetNames, templateSet);

/**
 * Class names in label order by list name: `classes.voc21`, `classes['coco-stuff']`. Lists of synonyms and queries hold a list of
 * words a class instead.
 */
export const classes: Readonly<Record<string, readonly string[] | readonly (readonly string[])[]>> = lazyRecord(
  classListNames,
  (name) => {
    const list = classList(name);
    return /-(synonyms|queries-sclip)$/.test(name)
      ? list.map((entry) => entry.prompts)
      : list.map((entry) => entry.name);
  },
);
