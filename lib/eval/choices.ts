/**
 * How the choices of a protocol become options of a system, and how options that are in force are told as choices. The first is
 * what a system can be asked, the second what is recorded: both go through one list, so nothing is recorded that was not done.
 */
import { refineOf } from '../pipelines/segment-options.js';
import { show, WordmaskError } from '../util/errors.js';
import { canonicalJson } from '../util/json.js';
import type { JsonValue, Protocol, ProtocolChanges, ProtocolName } from './protocol.js';
import type { PictureRules } from './protocols.js';

export type SystemOptions = Readonly<Record<string, JsonValue>>;

/** Options of systems that compare patches with words, which the record has keys of its own for. */
const covered = ['shortSide', 'longSide', 'crop', 'stride', 'templates', 'averaging', 'probThreshold', 'pamr'] as const;

/** Whether the system takes sizes, windows, templates and a threshold; others decide these themselves. */
export function takesPictureRules(options: SystemOptions): boolean {
  return covered.every((key) => Object.hasOwn(options, key));
}

/** Choices that a system of its own kind has options for. */
interface OwnChoices {
  /** Option -> key of the record. */
  readonly covered: Readonly<Record<string, keyof Protocol>>;
  readonly told: (options: SystemOptions) => Partial<Told>;
  readonly asked: (resize: ProtocolChanges['resize']) => Record<string, unknown> | undefined;
}

/** A system's own CRF as a choice of the record. */
const crfChoice = (crf: unknown): Protocol['refine'] =>
  crf === false ? 'none' : ({ name: 'crf', ...(crf as object) } as Protocol['refine']);

const ownChoices: Readonly<Record<string, OwnChoices>> = {
  'clip-as-rnn': {
    covered: { crf: 'refine' },
    // The picture keeps its size, sides rounded up to multiples of 16.
    told: ({ crf }) => ({ resize: null, window: { crop: 0, stride: 0 }, refine: crfChoice(crf) }),
    asked: (resize) => (resize ? undefined : {}),
  },
  'pnp-ovss': {
    covered: { imageSize: 'resize', crf: 'refine' },
    told: ({ imageSize: side, crf }) => ({
      resize: { mode: 'squash', shortSide: side as number, longSide: side as number, multiple: 1 },
      window: { crop: 0, stride: 0 },
      refine: crfChoice(crf),
    }),
    asked: (resize) => {
      if (!resize) return {};
      const { mode = 'squash', shortSide, longSide = shortSide, multiple = 1 } = resize;
      return mode === 'squash' && multiple === 1 && shortSide === longSide ? { imageSize: shortSide } : undefined;
    },
  },
};

/** What to ask of a system that reads its pictures in its own way. @throws E_OPTION for what it cannot do */
export function askedOfOwn(system: string, rules: PictureRules, changes: ProtocolChanges): Record<string, unknown> {
  const own = ownChoices[system];
  refuseTwice(changes, own?.covered ?? {});
  const { resize } = { ...rules, ...changes };
  const options = own?.asked(resize);
  if (options === undefined && changes.resize)
    throw cannot(system, 'resize', changes.resize, 'it has sizes of its own');
  return { ...options, ...changes.systemOptions };
}

/** @throws E_OPTION for an option that the record has a key of its own for */
function refuseTwice({ systemOptions = {} }: ProtocolChanges, keys: Readonly<Record<string, string>>): void {
  const twice = Object.keys(systemOptions).find((key) => Object.hasOwn(keys, key));
  if (twice !== undefined)
    throw new WordmaskError(
      'E_OPTION',
      `protocol: systemOptions.${twice} has a key of its own: say it as ${keys[twice]}`,
      { details: { option: `systemOptions.${twice}` } },
    );
}

/** What to ask of a system: the protocol's picture rules, then the changes. @throws E_OPTION for what it cannot do */
export function askedOptions(
  system: string,
  name: ProtocolName,
  rules: PictureRules,
  threshold: number | undefined,
  changes: ProtocolChanges,
): Record<string, unknown> {
  const { window, templates, average, background, systemOptions = {} } = { ...rules, ...changes };
  const resize = wholeResize(rules, changes);
  refuseTwice(changes, recordKey);
  if (resize && (resize.mode !== 'keep-ratio' || resize.multiple !== 1 || resize.shortSide === null))
    throw cannot(
      system,
      'resize',
      resize,
      `it resizes by keep-ratio to a short side, with multiple 1${changes.resize ? '' : `; to count as ${name} does with the system's own sizes, give { "name": "${name}", "resize": null, "window": null }`}`,
    );
  if (average === 'projected-mean-normalise')
    throw cannot(system, 'average', average, 'it knows normalise-mean-normalise and mean-normalise');
  if (background && background.mode === 'system') throw cannot(system, 'background', background, 'it has no own rule');
  return {
    ...rules.systemOptions,
    ...systemOptions,
    ...(resize && { shortSide: resize.shortSide, ...(resize.longSide !== null && { longSide: resize.longSide }) }),
    ...(window && { ...window }),
    ...(templates && { templates }),
    ...(average && { averaging: average }),
    ...(threshold !== undefined && { probThreshold: threshold }),
    // A margin is a rule of the read-out, the threshold then says nothing.
    ...(background && { probThreshold: background.mode === 'threshold' ? background.value : 0 }),
  };
}

/** What changes leave out of the size rule is the protocol's, else the rule of systems that keep the picture's ratio. */
function wholeResize({ resize: own }: PictureRules, { resize }: ProtocolChanges) {
  if (resize === null || (resize === undefined && !own)) return undefined;
  return { mode: 'keep-ratio', multiple: 1, shortSide: undefined, longSide: null, ...own, ...resize };
}

const recordKey = {
  ...{ shortSide: 'resize', longSide: 'resize', crop: 'window', stride: 'window', templates: 'templates' },
  ...{ averaging: 'average', probThreshold: 'background', pamr: 'refine' },
} as const satisfies Record<(typeof covered)[number], string>;

type Told = Pick<
  Protocol,
  'templates' | 'average' | 'resize' | 'window' | 'background' | 'refine' | 'merge' | 'systemOptions'
>;

/** Options in force as choices of the record. */
export function toldOptions(system: string, options: SystemOptions, changes: ProtocolChanges): Told {
  if (!takesPictureRules(options)) {
    const own = ownChoices[system];
    const told = own?.told(options);
    return {
      ...{ templates: null, average: null, resize: null, window: null, merge: 'none' },
      background: wholeBackground(changes) ?? { mode: 'system', value: null },
      ...told,
      refine: mergedRefine(told?.refine ?? 'system', changes.refine),
      systemOptions: Object.fromEntries(
        Object.entries(options).filter(([key]) => !Object.hasOwn(own?.covered ?? {}, key)),
      ),
    };
  }
  const { shortSide, longSide, crop, stride, templates, averaging, probThreshold } = options as never as {
    [K in (typeof covered)[number]]: never;
  };
  const asked = wholeBackground(changes);
  const margin = asked?.mode === 'margin' ? asked : undefined;
  const threshold = { mode: probThreshold > 0 ? 'threshold' : 'none', value: probThreshold > 0 ? probThreshold : null };
  return {
    ...{ templates, average: averaging },
    resize: { mode: 'keep-ratio', shortSide, longSide, multiple: 1 },
    window: { crop, stride: crop === 0 ? 0 : stride },
    background: margin ?? (threshold as Protocol['background']),
    refine: refineInForce(options, changes),
    merge: crop === 0 ? 'none' : 'cosine',
    systemOptions: Object.fromEntries(
      Object.entries(options).filter(([key]) => !(covered as readonly string[]).includes(key)),
    ),
  };
}

function wholeBackground({ background }: ProtocolChanges): Protocol['background'] | undefined {
  return background && { mode: 'none', value: null, ...background };
}

/** The refiner in full. */
function refineInForce(options: SystemOptions, { refine }: ProtocolChanges): Protocol['refine'] {
  const asked = refine === 'system' ? undefined : refine;
  const { kind, ...rest } = refineOf(
    asked as Parameters<typeof refineOf>[0],
    options as Parameters<typeof refineOf>[1],
  );
  if (kind === 'none') return 'none';
  const terms = kind === 'crf' ? { gaussian: null, bilateral: null } : {};
  return { name: kind, ...terms, ...rest } as Protocol['refine'];
}

/** A refiner by name, with what it leaves out taken from the system's own of that name. */
function mergedRefine(own: Protocol['refine'], asked: ProtocolChanges['refine']): Protocol['refine'] {
  if (asked === undefined || asked === 'system') return own;
  if (asked === 'none') return 'none';
  const choice = typeof asked === 'string' ? { name: asked } : asked;
  const base = typeof own === 'object' && own.name === choice.name ? own : {};
  return { ...base, ...choice } as Protocol['refine'];
}

/** Choices that the record ended up without: the run could not have followed them. @throws E_OPTION naming the first */
export function refuseUndone(changes: ProtocolChanges, protocol: Protocol, system: string): void {
  for (const [key, asked] of Object.entries(changes)) {
    const done = protocol[key as keyof Protocol] as JsonValue;
    // null and 'system' leave the choice to the system; a refiner may be asked for by its name alone, and is always made.
    if (asked === null || asked === 'system' || key === 'refine' || fits(asked as JsonValue, done)) continue;
    throw cannot(system, key, asked, `here it is ${canonicalJson(done)}`);
  }
}

/** Whether everything that was asked for is there; objects may hold more. */
function fits(asked: JsonValue, done: JsonValue): boolean {
  if (typeof asked !== 'object' || asked === null || Array.isArray(asked))
    return asked === null || canonicalJson(asked) === canonicalJson(done);
  const found = (typeof done === 'object' && done !== null ? done : {}) as SystemOptions;
  return Object.entries(asked as SystemOptions).every(([key, value]) => fits(value, found[key] as JsonValue));
}

function cannot(system: string, key: string, value: unknown, instead: string): WordmaskError {
  const text = typeof value === 'object' ? canonicalJson(value) : show(value);
  return new WordmaskError('E_OPTION', `protocol: ${system} cannot follow ${key} = ${text}: ${instead}`, {
    details: { option: key, value },
  });
}
