/** The options in force: config file < WORDMASK_* variables < flags; the last wins. */
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';
import { type CommandName, commandOptions, type OptionSpec, optionSpecs, variableOf } from './options.js';

export const configName = 'wordmask.config.json';
const fileLimit = 1 << 20;

export type OptionValues = Readonly<Record<string, unknown>>;

export interface Gathered {
  readonly values: OptionValues;
  /** Where each value comes from: the file, the variable or the flag. */
  readonly sources: Readonly<Record<string, string>>;
  readonly file?: string;
}

/**
 * @param flags values of the flags that were given, as text (true and false for flags without value)
 * @throws E_OPTION naming the source, the value and what is allowed
 */
export async function gatherOptions(command: CommandName, flags: OptionValues, env = process.env): Promise<Gathered> {
  const specs = commandOptions[command].map((name) => optionSpecs.get(name) as OptionSpec);
  const values: Record<string, unknown> = {};
  const sources: Record<string, string> = {};
  const take = (spec: OptionSpec, value: unknown, source: string): void => {
    const parsed = parseValue(spec, value, source);
    values[spec.name] =
      spec.kind === 'pairs' ? { ...(values[spec.name] as object | undefined), ...(parsed as object) } : parsed;
    sources[spec.name] = source;
  };
  const file = configFile(flags.config ?? env.WORDMASK_CONFIG);
  if (file !== undefined) {
    const fromFile = await readConfig(file, command);
    for (const spec of specs) if (Object.hasOwn(fromFile, spec.name)) take(spec, fromFile[spec.name], basename(file));
  }
  for (const spec of specs) {
    const variable = variableOf(spec.name);
    const text = env[variable];
    if (text !== undefined && text !== '') take(spec, text, variable);
  }
  for (const spec of specs) if (flags[spec.name] !== undefined) take(spec, flags[spec.name], longFlag(spec));
  return { values, sources, file };
}

function configFile(named: unknown): string | undefined {
  if (typeof named === 'string' && named !== '') return named;
  return existsSync(configName) ? configName : undefined;
}

/** Options at the top serve every command that knows them; those under a command's name serve it alone and win. */
async function readConfig(file: string, command: CommandName): Promise<Record<string, unknown>> {
  const [{ readFileLimited }, { parseJsonStrict }] = await Promise.all([
    import('../util/files.js'),
    import('../util/json.js'),
  ]);
  const bytes = await readFileLimited(file, { limit: fileLimit, code: 'E_USAGE' });
  const json = parseJsonStrict(bytes, { code: 'E_OPTION', what: file });
  const top = checkKeys(json, [...optionSpecs.keys(), ...Object.keys(commandOptions)], file);
  const section = Object.hasOwn(top, command)
    ? checkKeys(top[command], commandOptions[command], `${file}: ${command}`)
    : {};
  for (const name of Object.keys(commandOptions) as CommandName[]) {
    if (name !== command && Object.hasOwn(top, name)) checkKeys(top[name], commandOptions[name], `${file}: ${name}`);
  }
  return { ...top, ...section };
}

function checkKeys(value: unknown, known: readonly string[], where: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new WordmaskError('E_OPTION', `${where} must be an object of options, got ${show(value)}`);
  for (const key of Object.keys(value)) {
    if (known.includes(key)) continue;
    const hint = nearest(key, known);
    throw new WordmaskError(
      'E_OPTION',
      `${where}: unknown option ${show(key)}${hint ? `; did you mean ${show(hint)}?` : ''}`,
      { details: { option: key } },
    );
  }
  return value as Record<string, unknown>;
}

function longFlag(spec: OptionSpec): string {
  return /--[a-z-]+/.exec(spec.flags)?.[0] ?? spec.flags;
}

/** A value of the option's kind, from text or from JSON. @throws E_OPTION */
export function parseValue(spec: OptionSpec, value: unknown, source: string): unknown {
  const fail = (allowed: string): never => {
    throw new WordmaskError('E_OPTION', `${source} must be ${allowed}, got ${show(value)}`, {
      details: { option: spec.name, value },
    });
  };
  switch (spec.kind) {
    case 'flag':
      return parseFlag(value, () => fail('true or false'));
    case 'integer':
    case 'number': {
      const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
      const fits = spec.kind === 'integer' ? Number.isSafeInteger(number) : Number.isFinite(number);
      return fits ? number : fail(spec.kind === 'integer' ? 'a whole number' : 'a number');
    }
    case 'list':
      if (typeof value === 'string')
        return value
          .split(',')
          .map((item) => item.trim())
          .filter((item) => item !== '');
      return Array.isArray(value) && value.every((item) => typeof item === 'string') ? value : fail('a list of words');
    case 'any':
      return typeof value === 'string' ? parseAny(value) : value;
    case 'labels':
      return typeof value === 'string' || Array.isArray(value) ? value : fail('a text or a list of labels');
    case 'pairs':
      return parsePairs(value, fail);
    case 'text': {
      const text = typeof value === 'number' ? String(value) : value;
      if (typeof text !== 'string') return fail('a text');
      return spec.choices && !spec.choices.includes(text) ? fail(`one of ${spec.choices.join(', ')}`) : text;
    }
  }
}

function parseFlag(value: unknown, fail: () => never): boolean {
  if (typeof value === 'boolean') return value;
  if (/^(1|true|yes|on)$/i.test(String(value))) return true;
  return /^(0|false|no|off)$/i.test(String(value)) ? false : fail();
}

/** JSON where the text is JSON, else the text itself. */
function parseAny(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function parsePairs(value: unknown, fail: (allowed: string) => never): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
  const list = Array.isArray(value) ? value : typeof value === 'string' ? [value] : fail('key=value');
  const pairs: [string, unknown][] = list.map((item) => {
    const at = String(item).indexOf('=');
    return at > 0 ? [String(item).slice(0, at).trim(), parseAny(String(item).slice(at + 1))] : fail('key=value');
  });
  return Object.fromEntries(pairs);
}
