/** Background policies: what counts as "none of the labels". */
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';
import { classList } from './lists.js';

/**
 * `none`: every pixel gets a label. `threshold`: a winner below `value` is background. `margin`: the winner must lead by
 * `value`. `prompts`: the words compete with the labels and count as background together. `auto`: the system's published setting.
 */
export type BackgroundPolicy =
  | { readonly mode: 'none' }
  | { readonly mode: 'auto' }
  | { readonly mode: 'threshold'; readonly value: number }
  | { readonly mode: 'margin'; readonly value: number }
  | { readonly mode: 'prompts'; readonly prompts: readonly string[] };

/** A policy, or the name of one that needs no value. */
export type BackgroundInput =
  | 'none'
  | 'auto'
  | 'prompts'
  | { mode: BackgroundPolicy['mode']; value?: number; prompts?: readonly string[] };

const keys: Readonly<Record<BackgroundPolicy['mode'], readonly string[]>> = {
  none: [],
  auto: [],
  threshold: ['value'],
  margin: ['value'],
  prompts: ['prompts'],
};

/** Words that stand for background where none are given: those that the SCLIP and NACLIP evaluations use. */
export function backgroundWords(): readonly string[] {
  return classList('voc21-queries-sclip')[0]?.prompts ?? [];
}

/**
 * Checks a policy. Its words are checked as prompts by the vocabulary.
 * @throws E_OPTION naming the option, the value and what is allowed
 */
export function parseBackground(input: unknown): BackgroundPolicy {
  const policy = typeof input === 'string' ? { mode: input } : input;
  if (typeof policy !== 'object' || policy === null || Array.isArray(policy))
    throw wrong('background', input, 'an object { mode, value?, prompts? }');
  const { mode, value, prompts } = policy as { mode?: unknown; value?: unknown; prompts?: unknown };
  if (typeof mode !== 'string' || !Object.hasOwn(keys, mode)) {
    const hint = typeof mode === 'string' ? nearest(mode, Object.keys(keys)) : undefined;
    throw wrong(
      'background.mode',
      mode,
      `one of ${Object.keys(keys).join(', ')}${hint ? ` (did you mean ${hint}?)` : ''}`,
    );
  }
  const name = mode as BackgroundPolicy['mode'];
  const extra = Object.keys(policy).find(
    (key) => key !== 'mode' && !keys[name].includes(key) && (policy as Record<string, unknown>)[key] !== undefined,
  );
  if (extra !== undefined)
    throw new WordmaskError(
      'E_OPTION',
      `background: the mode ${show(mode)} takes no ${show(extra)} (allowed: ${['mode', ...keys[name]].join(', ')})`,
      { details: { option: `background.${extra}` } },
    );
  switch (name) {
    case 'none':
    case 'auto':
      return { mode: name };
    case 'threshold':
    case 'margin':
      if (typeof value !== 'number' || !(value >= 0 && value <= 1))
        throw wrong('background.value', value, 'a number from 0 to 1');
      return { mode: name, value };
    case 'prompts':
      if (prompts !== undefined && (!Array.isArray(prompts) || prompts.length === 0))
        throw wrong('background.prompts', prompts, 'a list of words that is not empty');
      return { mode: name, prompts: (prompts as readonly string[] | undefined) ?? backgroundWords() };
  }
}

function wrong(option: string, value: unknown, allowed: string): WordmaskError {
  return new WordmaskError('E_OPTION', `${option} must be ${allowed}, got ${show(value)}`, {
    details: { option, value },
  });
}
