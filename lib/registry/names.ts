/** Model names: `SYSTEM:WEIGHTS`, or WEIGHTS alone; WEIGHTS is a name of our list, `ORG/NAME[@REVISION]`, or a path. */
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';

export type Weights =
  | { readonly kind: 'builtin'; readonly name: string }
  | { readonly kind: 'hub'; readonly id: string; readonly revision?: string }
  | { readonly kind: 'path'; readonly path: string };

export interface ModelName {
  /** Undefined: what the folder's wordmask.json names, else the default for its kind. */
  readonly system?: string;
  readonly weights: Weights;
}

export interface NameContext {
  /** Names of all systems. */
  readonly systems: readonly string[];
  /** Our list: null for built-in weights, else the name it stands for (`naclip:openai/clip-vit-base-patch16`). */
  readonly names?: ReadonlyMap<string, string | null>;
  /** From `--system`. */
  readonly system?: string;
}

const longest = 4096;
const allowedForm =
  'allowed are SYSTEM:WEIGHTS and WEIGHTS, with WEIGHTS a known name, ORG/NAME or ORG/NAME@REVISION of the hub, or a path that begins with "." or "/"';

/**
 * @throws E_MODEL_ID for anything of another form, with the allowed form; E_MODEL_NOT_FOUND for an unknown name;
 * E_USAGE when two systems are named
 */
export function parseModelName(text: string, context: NameContext): ModelName {
  if (typeof text !== 'string' || text === '' || text.length > longest || /[\p{Cc}\p{Cs}]/u.test(text))
    throw badId(text, 'is empty, too long or holds control characters');
  if (context.system !== undefined) checkSystem(context.system, context, text);
  if (isPath(text)) return { system: context.system, weights: { kind: 'path', path: text } };
  const colon = text.indexOf(':');
  const known = context.names?.get(text);
  if (colon < 0 && typeof known === 'string') return resolveName(known, context);
  if (colon < 0) return { system: context.system, weights: parseWeights(text, context) };
  const system = text.slice(0, colon);
  checkSystem(system, context, text);
  if (context.system !== undefined && context.system !== system)
    throw new WordmaskError(
      'E_USAGE',
      `the model ${show(text)} names the system ${show(system)}, the option ${show(context.system)}: give one`,
    );
  return { system, weights: parseWeights(text.slice(colon + 1), context) };
}

function resolveName(target: string, context: NameContext): ModelName {
  const resolved = parseModelName(target, { ...context, system: undefined });
  return context.system === undefined ? resolved : { ...resolved, system: context.system };
}

function checkSystem(system: string, { systems }: NameContext, text: string): void {
  if (systems.includes(system)) return;
  const hint = nearest(system, systems);
  throw new WordmaskError(
    'E_MODEL_ID',
    `${show(system)} is not a system${hint ? `; did you mean ${show(hint)}?` : ''} (known: ${systems.join(', ')})`,
    { details: { value: text, system } },
  );
}

function isPath(text: string): boolean {
  return text.startsWith('/') || text.startsWith('.') || /^[A-Za-z]:[\\/]/.test(text);
}

function parseWeights(text: string, context: NameContext): Weights {
  if (isPath(text)) return { kind: 'path', path: text };
  if (context.names?.has(text)) {
    const target = context.names.get(text) as string | null;
    return target === null
      ? { kind: 'builtin', name: text }
      : resolveName(target, { ...context, system: undefined }).weights;
  }
  if (text.includes('/')) return { kind: 'hub', ...parseHubId(text) };
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(text)) throw badId(text, 'is no name');
  const hint = nearest(text, context.names?.keys() ?? []);
  throw new WordmaskError(
    'E_MODEL_NOT_FOUND',
    `no model is named ${show(text)}${hint ? `; did you mean ${show(hint)}?` : ''}; ${allowedForm}`,
    { details: { value: text } },
  );
}

/**
 * `ORG/NAME` or `ORG/NAME@REVISION`, by the hub's own rules for names.
 * @throws E_MODEL_ID
 */
export function parseHubId(text: string): { id: string; revision?: string } {
  const at = text.indexOf('@');
  const id = at < 0 ? text : text.slice(0, at);
  const part = /^[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?$/;
  const parts = id.split('/');
  if (
    parts.length !== 2 ||
    !parts.every(
      (name) => part.test(name) && !name.includes('..') && !name.includes('--') && !/\.(git|ipynb)$/.test(name),
    )
  ) {
    throw badId(text, 'is no ORG/NAME (letters, digits, "-", "_", ".", at most 96 each)');
  }
  return at < 0 ? { id } : { id, revision: checkRevision(text.slice(at + 1)) };
}

/** A branch, tag or commit. @throws E_MODEL_ID */
export function checkRevision(revision: string): string {
  const valid =
    /^[A-Za-z0-9][A-Za-z0-9._/-]{0,254}$/.test(revision) && !/\.\.|\/\/|\/$|\/\.|\.lock(\/|$)|\.$/.test(revision);
  if (!valid)
    throw badId(revision, 'is no revision (a branch, a tag or a commit: letters, digits, "-", "_", ".", "/")');
  return revision;
}

function badId(text: string, why: string): WordmaskError {
  return new WordmaskError('E_MODEL_ID', `the model ${show(text)} ${why}; ${allowedForm}`, {
    details: { value: typeof text === 'string' ? text.slice(0, 200) : text },
  });
}
