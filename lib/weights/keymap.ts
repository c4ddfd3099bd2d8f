/**
 * Names of tensors: declarative rules from the names of a checkpoint to those a model asks for, and the full account of what
 * fits. Pure text and shapes: the caller makes the tensors from the plan (a split in rows is a view, a transpose a copy).
 */
import { show, WordmaskError } from '../util/errors.js';

/**
 * One rule. `from` is a whole name in which `*` stands for one part without a dot and `**` for any text; the n-th star of
 * `to` takes what the n-th star of `from` matched. The first rule that matches a name counts; a name without a rule stays.
 * ```
 * { from: 'visual.proj', to: 'visual_projection.weight', transpose: true }
 * { from: '**.attn.in_proj_weight', to: ['**.q_proj.weight', '**.k_proj.weight', '**.v_proj.weight'] }   // equal parts of the rows
 * { from: 'queue_*', to: null }                                                                          // not wanted
 * ```
 */
export interface KeyRule {
  readonly from: string;
  readonly to: string | readonly string[] | null;
  /** Swap the two dimensions. */
  readonly transpose?: boolean;
  /** Give the result this shape (same number of elements); -1 once for the rest. */
  readonly reshape?: readonly number[];
}

/** How the names of a kind of checkpoint become a model's. */
export interface KeyMap {
  readonly rules: readonly KeyRule[];
  /** What is taken out of a name before the rules see it. */
  readonly infix?: RegExp;
}

export interface Shaped {
  readonly shape: readonly number[];
}

/** How a wanted tensor is made: take `source`, rows `part` of `parts`, then transpose or reshape. */
export interface KeyPlan extends Shaped {
  readonly source: string;
  readonly part: number;
  readonly parts: number;
  readonly transpose: boolean;
  /** Shape of the result. */
  readonly shape: readonly number[];
}

/**
 * Applies rules to the tensors of a checkpoint.
 * @param file named in errors
 * @param infix taken out of each name before the rules see it
 * @throws E_WEIGHTS when two tensors come to one name, or a tensor cannot be split, transposed or reshaped as a rule says
 */
export function mapKeys(
  file: string,
  tensors: Iterable<readonly [string, Shaped]>,
  rules: readonly KeyRule[],
  infix?: RegExp,
): Map<string, KeyPlan> {
  const compiled = rules.map((rule) => ({ rule, pattern: pattern(rule.from) }));
  const plans = new Map<string, KeyPlan>();
  for (const [source, { shape }] of tensors) {
    for (const [target, plan] of applyRules(file, source, shape, compiled, infix)) {
      const other = plans.get(target);
      if (other)
        throw fail(file, `the tensors ${show(other.source)} and ${show(source)} both stand for ${show(target)}`, {
          tensors: [other.source, source],
        });
      plans.set(target, plan);
    }
  }
  return plans;
}

type Compiled = readonly { readonly rule: KeyRule; readonly pattern: RegExp }[];

function applyRules(
  file: string,
  source: string,
  shape: readonly number[],
  compiled: Compiled,
  infix: RegExp | undefined,
): [string, KeyPlan][] {
  const plain = infix ? source.replace(infix, '') : source;
  for (const { rule, pattern: regexp } of compiled) {
    const match = regexp.exec(plain);
    if (!match) continue;
    if (rule.to === null) return [];
    const targets = typeof rule.to === 'string' ? [rule.to] : rule.to;
    const rows = shape[0] ?? 0;
    if (targets.length > 1 && (shape.length === 0 || rows % targets.length !== 0)) {
      throw fail(
        file,
        `the tensor ${show(source)} of shape [${shape.join(', ')}] cannot be split into ${targets.length} equal parts`,
        { tensor: source },
      );
    }
    const partShape = targets.length > 1 ? [rows / targets.length, ...shape.slice(1)] : shape;
    const result = resultShape(file, source, partShape, rule);
    return targets.map((target, part) => {
      const name = fill(target, match);
      return [name, { source, part, parts: targets.length, transpose: rule.transpose ?? false, shape: result }];
    });
  }
  return [[plain, { source, part: 0, parts: 1, transpose: false, shape }]];
}

function resultShape(file: string, source: string, shape: readonly number[], rule: KeyRule): readonly number[] {
  if (rule.transpose) {
    if (shape.length !== 2)
      throw fail(file, `the tensor ${show(source)} of shape [${shape.join(', ')}] should have two dimensions`, {
        tensor: source,
      });
    return [shape[1] as number, shape[0] as number];
  }
  if (!rule.reshape) return shape;
  const count = shape.reduce((product, d) => product * d, 1);
  const known = rule.reshape.reduce((product, d) => (d === -1 ? product : product * d), 1);
  const result = rule.reshape.map((d) => (d === -1 ? count / known : d));
  if (result.reduce((product, d) => product * d, 1) === count && result.every(Number.isInteger)) return result;
  throw fail(
    file,
    `the tensor ${show(source)} of shape [${shape.join(', ')}] cannot take the shape [${rule.reshape.join(', ')}]`,
    { tensor: source },
  );
}

function pattern(from: string): RegExp {
  const text = from
    .split(/(\*\*|\*)/)
    .map((piece) =>
      piece === '**' ? '(.*)' : piece === '*' ? '([^.]+)' : piece.replace(/[.+?^${}()|[\]\\]/g, '\\$&'),
    );
  return new RegExp(`^${text.join('')}$`, 's');
}

function fill(to: string, match: RegExpExecArray): string {
  let star = 0;
  return to.replace(/\*\*|\*/g, () => match[++star] ?? '');
}

export interface Coverage {
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
  readonly wrongShape: readonly {
    readonly name: string;
    readonly expected: readonly number[];
    readonly found: readonly number[];
  }[];
}

export interface CoverageOptions {
  /** Patterns (as in rules) of names that may be there and are not used, e.g. `**.position_ids`. */
  ignore?: readonly string[];
  /** Patterns of wanted names that may be missing. */
  optional?: readonly string[];
}

/** Compares what a model wants (name -> shape) with what there is. Names come back sorted. */
export function coverage(
  wanted: ReadonlyMap<string, readonly number[]>,
  found: ReadonlyMap<string, Shaped>,
  options: CoverageOptions = {},
): Coverage {
  const ignore = (options.ignore ?? []).map(pattern);
  const optional = (options.optional ?? []).map(pattern);
  const missing = [...wanted.keys()].filter((name) => !found.has(name) && !optional.some((p) => p.test(name))).sort();
  const unexpected = [...found.keys()].filter((name) => !wanted.has(name) && !ignore.some((p) => p.test(name))).sort();
  const wrongShape: { name: string; expected: readonly number[]; found: readonly number[] }[] = [];
  for (const [name, expected] of wanted) {
    const shape = found.get(name)?.shape;
    if (shape && (shape.length !== expected.length || shape.some((d, i) => d !== expected[i])))
      wrongShape.push({ name, expected, found: shape });
  }
  return { missing, unexpected, wrongShape: wrongShape.sort((a, b) => (a.name < b.name ? -1 : 1)) };
}

const listed = 200; // names of one kind in a message; `details` has all

/** @throws E_WEIGHTS listing every missing, unexpected and wrong-shaped tensor */
export function assertCoverage(file: string, report: Coverage): void {
  const parts: string[] = [];
  const add = (title: string, items: readonly string[]): void => {
    if (items.length === 0) return;
    const more = items.length > listed ? `, and ${items.length - listed} more` : '';
    parts.push(`${items.length} ${title}: ${items.slice(0, listed).join(', ')}${more}`);
  };
  add('missing', report.missing);
  add('unexpected', report.unexpected);
  add(
    'of wrong shape',
    report.wrongShape.map(
      ({ name, expected, found }) => `${name} is [${found.join(', ')}], must be [${expected.join(', ')}]`,
    ),
  );
  if (parts.length === 0) return;
  throw fail(
    file,
    `the tensors do not fit the model; ${parts.join('; ')}. Check that config.json and the weights belong together`,
    { ...report },
  );
}

function fail(file: string, text: string, details: Record<string, unknown>): WordmaskError {
  return new WordmaskError('E_WEIGHTS', `${file}: ${text}`, { details: { file, ...details } });
}
