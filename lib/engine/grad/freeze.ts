/** Freezing by parameter path. */
import { WordmaskError } from '../../util/errors.js';
import type { Tensor } from '../tensor.js';
import { requireGrad } from './tape.js';

export interface HasParameters {
  /** Parameters by dotted path. */
  readonly parameters: ReadonlyMap<string, Tensor>;
}

/**
 * Sets which parameters need gradients. Patterns are dotted paths with `*` for one segment and `**` for any number; a
 * match freezes, a match of a pattern behind `!` frees again; the last match decides: `freeze(model, ['**', '!head.**'])`.
 * @throws E_OPTION for a pattern that matches nothing
 */
export function freeze(model: HasParameters, patterns: readonly string[]): void {
  const rules = patterns.map((pattern) => ({
    pattern,
    free: pattern.startsWith('!'),
    test: toRegExp(pattern.replace(/^!/, '')),
  }));
  for (const { pattern, test } of rules) {
    if (![...model.parameters.keys()].some((path) => test.test(path))) {
      throw new WordmaskError(
        'E_OPTION',
        `freeze: pattern '${pattern}' matches no parameter (for example ${[...model.parameters.keys()].slice(0, 3).join(', ')})`,
      );
    }
  }
  for (const [path, parameter] of model.parameters) {
    const last = rules.filter(({ test }) => test.test(path)).at(-1);
    if (last) requireGrad(parameter, last.free);
  }
}

function toRegExp(pattern: string): RegExp {
  const body = pattern
    .split('**')
    .map((part) =>
      part
        .split('*')
        .map((text) => text.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
        .join('[^.]*'),
    )
    .join('.*');
  return new RegExp(`^${body}$`);
}
