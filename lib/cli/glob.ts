/** File name patterns: `*` and `?` inside a name, `**` over folders, `[a-z]` and `{a,b}`. */
import { readdir } from 'node:fs/promises';
import { join, posix } from 'node:path';

export function isGlob(text: string): boolean {
  return /[*?[{]/.test(text);
}

/** Paths of the files that fit, sorted. Names beginning with a dot fit only where the pattern has the dot. */
export async function expandGlob(pattern: string): Promise<string[]> {
  const normal = posix.normalize(pattern.replaceAll('\\', '/'));
  const parts = normal.split('/');
  const first = parts.findIndex(isGlob);
  const base = parts.slice(0, first).join('/') || (normal.startsWith('/') ? '/' : '.');
  const tail = parts.slice(first).join('/');
  const regex = new RegExp(`^${toRegex(tail)}$`, 'u');
  const deep = tail.includes('**') ? Number.POSITIVE_INFINITY : parts.length - first;
  const found: string[] = [];
  await walk(
    base,
    '',
    deep,
    tail.split('/').some((part) => part.startsWith('.')),
    (relative) => {
      if (regex.test(relative))
        found.push(base === '.' && !pattern.startsWith('./') ? relative : posix.join(base, relative));
    },
  );
  return found.sort();
}

async function walk(
  folder: string,
  prefix: string,
  depth: number,
  hidden: boolean,
  visit: (relative: string) => void,
): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    if (entry.name.startsWith('.') && !hidden) continue;
    const relative = prefix === '' ? entry.name : `${prefix}/${entry.name}`;
    if (!entry.isDirectory()) visit(relative);
    else if (depth > 1) await walk(join(folder, entry.name), relative, depth - 1, hidden, visit);
  }
}

/** Source of a regular expression without nested repetition, so that no pattern makes matching slow. */
function toRegex(pattern: string): string {
  let source = '';
  let braces = 0;
  for (let i = 0; i < pattern.length; i++) {
    const c = pattern[i] as string;
    if (pattern.startsWith('**/', i)) {
      source += '(?:.*/)?';
      i += 2;
    } else if (pattern.startsWith('**', i)) {
      source += '.*';
      i++;
    } else if (c === '*') source += '[^/]*';
    else if (c === '?') source += '[^/]';
    else if (c === '[') {
      const end = pattern.indexOf(']', i + 2);
      if (end < 0) source += '\\[';
      else {
        const body = pattern.slice(i + 1, end).replace(/[\\\]^]/g, '\\$&');
        source += body.startsWith('!') ? `[^/${body.slice(1)}]` : `[${body}]`;
        i = end;
      }
    } else if (c === '{' && pattern.indexOf('}', i) > 0) {
      source += '(?:';
      braces++;
    } else if (c === '}' && braces > 0) {
      source += ')';
      braces--;
    } else if (c === ',' && braces > 0) source += '|';
    else source += c.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
  }
  return source + ')'.repeat(braces);
}
