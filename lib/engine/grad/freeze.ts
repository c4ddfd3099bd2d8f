/** Choosing parameters by path, and freezing them. */
import { WordmaskError } from '../../util/errors.js';
import type { Tensor } from '../tensor.js';
import { requireGrad } from './tape.js';

export interface HasParameters {
  /** Parameters by dotted path. */
  readonly parameters: ReadonlyMap<string, Tensor>;
}

/**
 * What a list of patterns says of a path: true where the last pattern that matches has no `!`, false where it has one,
 * undefined where none matches. Patterns are dotted paths with `*` for one segment and `**` for any number, none included.
 */
export type PathRule = (path: string) => boolean | undefined;

/** @param who names the option in errors. @throws E_OPTION for a pattern that matches none of the paths */
export function pathRule(who: string, patterns: readonly string[], paths: Iterable<string>): PathRule {
  const known = [...paths];
  const rules = patterns.map((pattern) => ({ takes: !pattern.startsWith('!'), matches: matcher(pattern) }));
  rules.forEach(({ matches }, i) => {
    if (known.some(matches)) return;
    throw new WordmaskError(
      'E_OPTION',
      `${who}: pattern '${patterns[i]}' matches no parameter (for example ${known.slice(0, 3).join(', ')})`,
    );
  });
  return (path) => rules.filter(({ matches }) => matches(path)).at(-1)?.takes;
}

/**
 * Sets which parameters need gradients: a match freezes, a match of a pattern behind `!` frees again, the last match
 * decides: `freeze(model, ['**', '!head.**'])`.
 * @throws E_OPTION for a pattern that matches nothing
 */
export function freeze(model: HasParameters, patterns: readonly string[]): void {
  const frozen = pathRule('freeze', patterns, model.parameters.keys());
  for (const [path, parameter] of model.parameters) {
    const decision = frozen(path);
    if (decision !== undefined) requireGrad(parameter, !decision);
  }
}

/** Each segment carries the dot in front of it, so that `**` may stand for none: `a.**.b` matches `a.b`. */
function matcher(pattern: string): (path: string) => boolean {
  const body = pattern
    .replace(/^!/, '')
    .split('.')
    .map((segment) => (segment === '**' ? '(?:\\.[^.]+)*' : `\\.${withinSegment(segment)}`))
    .join('');
  const whole = new RegExp(`^${body}$`);
  return (path) => whole.test(`.${path}`);
}

/** `**` beside other text crosses dots: `layers**`. */
function withinSegment(segment: string): string {
  return segment
    .split('**')
    .map((part) =>
      part
        .split('*')
        .map((text) => text.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
        .join('[^.]*'),
    )
    .join('.*');
}
