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

/** What to ask of a system: the protocol's picture rules, then the changes. @throws E_OPTION for what it cannot do */
export function askedOptions(
  system: string,
  name: ProtocolName,
  rules: PictureRules,
  threshold: number | undefined,
  changes: ProtocolChanges,
): Record<string, unknown> {
  const { resize, window, templates, average, background, systemOptions = {} } = { ...rules, ...changes };
  const twice = Object.keys(changes.systemOptions ?? {}).find((key) => (covered as readonly string[]).includes(key));
  if (twice !== undefined)
    throw new WordmaskError(
      'E_OPTION',
      `protocol: systemOptions.${twice} has a key of its own: say it as ${recordKey[twice as keyof typeof recordKey]}`,
      { details: { option: `systemOptions.${twice}` } },
    );
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

const recordKey = {
  ...{ shortSide: 'resize', longSide: 'resize', crop: 'window', stride: 'window', templates: 'templates' },
  ...{ averaging: 'average', probThreshold: 'background', pamr: 'refine' },
} as const satisfies Record<(typeof covered)[number], string>;

type Told = Pick<
  Protocol,
  'templates' | 'average' | 'resize' | 'window' | 'background' | 'refine' | 'merge' | 'systemOptions'
>;

/** Options in force as choices of the record. */
export function toldOptions(options: SystemOptions, changes: ProtocolChanges): Told {
  if (!takesPictureRules(options))
    return {
      ...{ templates: null, average: null, resize: null, window: null, merge: 'none' },
      background: changes.background ?? { mode: 'system', value: null },
      refine: changes.refine ?? 'system',
      systemOptions: options,
    };
  const { shortSide, longSide, crop, stride, templates, averaging, probThreshold } = options as never as {
    [K in (typeof covered)[number]]: never;
  };
  const margin = changes.background?.mode === 'margin' ? changes.background : undefined;
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
