/**
 * The rules of the source tree, read from the sources: who may import whom, how long files and functions may get, which
 * words must not stay. The tables are those of docs/architecture, section "Layout".
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import ts from 'typescript';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
const maxFileLines = 400;
const maxFunctionLines = 60;

/** What each layer of lib/ may import besides itself, its own row and rule (a): util for all, engine from nn on. */
const rows: Record<string, readonly string[]> = {
  binding: [],
  util: [],
  engine: ['binding'],
  nn: [],
  text: [],
  image: [],
  weights: [],
  formats: ['image', 'weights'],
  post: ['image'],
  backbones: ['nn', 'text', 'image', 'weights'],
  systems: ['backbones', 'nn', 'post', 'text', 'image', 'weights'],
  registry: ['systems', 'backbones', 'weights'],
  pipelines: ['registry', 'post', 'text', 'image', 'formats', 'weights'],
  data: ['image', 'text', 'formats'],
  eval: ['pipelines', 'data', 'formats'],
  train: ['registry', 'data', 'nn', 'weights', 'pipelines', 'eval'],
};
const tensorLayers = Object.keys(rows).filter((layer) => !['binding', 'util', 'engine', 'text'].includes(layer));
// The faces see every layer but the binding; of two faces in one row, `serve` of the command line starts the server.
const everything = Object.keys(rows).filter((layer) => layer !== 'binding');
const allowed = new Map<string, ReadonlySet<string>>([
  ...Object.entries(rows).map(([layer, row]): [string, Set<string>] => [
    layer,
    new Set([
      layer,
      ...row,
      ...(layer === 'util' ? [] : ['util']),
      ...(tensorLayers.includes(layer) ? ['engine'] : []),
    ]),
  ]),
  ['server', new Set([...everything, 'server'])],
  ['cli', new Set([...everything, 'server', 'cli'])],
  ['entry', new Set([...everything, 'server', 'cli', 'entry'])],
]);
/** Units of these layers (a folder or a file) do not import each other; types.ts says what every unit offers. */
const separateUnits = new Set(['systems', 'backbones', 'data']);

/** The same for #include: folder -> folders whose headers it may name. */
const includes: Record<string, readonly string[]> = {
  'native/core': ['native/core', 'include'],
  'native/cpu': ['native/cpu', 'native/core'],
  'native/host': ['native/host', 'native/core'],
  'native/api': ['native/api', 'native/core', 'native/host', 'include'],
  'native/napi': ['native/napi', 'include'],
  'cuda/core': ['cuda/core', 'native/core', 'include'],
  cuda: ['cuda', 'native/core'],
};

function sources(folder: string, pattern: RegExp): string[] {
  const path = join(root, folder);
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .map((file) => posix.join(folder, file.replaceAll('\\', '/')))
    .filter((file) => pattern.test(file) && !file.includes('node_modules/'))
    .sort();
}

const read = (file: string): string => readFileSync(join(root, file), 'utf8');
const parse = (file: string): ts.SourceFile => ts.createSourceFile(file, read(file), ts.ScriptTarget.Latest, true);
const typescript = sources('lib', /\.ts$/);
const native = [...sources('native', /\.(cpp|h)$/), ...sources('cuda', /\.(cpp|cu|h|cuh)$/)];

/** Specifiers of import and export declarations, import types, import() and require(). */
function importsOf(source: ts.SourceFile): string[] {
  const found: string[] = [];
  const add = (node: ts.Node | undefined): void => {
    if (node !== undefined && ts.isStringLiteralLike(node)) found.push(node.text);
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) add(node.moduleSpecifier);
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal);
    else if (ts.isCallExpression(node)) {
      const callee = node.expression;
      if (callee.kind === ts.SyntaxKind.ImportKeyword || (ts.isIdentifier(callee) && callee.text === 'require'))
        add(node.arguments[0]);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** Path below lib/ of an import of our own, else undefined. */
function target(file: string, specifier: string): string | undefined {
  if (specifier.startsWith('#lib/')) return specifier.slice(5);
  if (!specifier.startsWith('.')) return undefined;
  return posix.relative('lib', posix.join(dirname(file), specifier));
}

function badEdge(file: string, specifier: string): string | undefined {
  const to = target(file, specifier);
  if (to === undefined) return undefined;
  const [layer = '', unit = ''] = posix.relative('lib', file).split('/');
  const [toLayer = '', toUnit = ''] = to.split('/');
  if (!allowed.get(layer)?.has(toLayer)) return `${file} imports ${specifier}: ${layer} may not import ${toLayer}`;
  const name = (part: string): string => basename(basename(part, '.ts'), '.js');
  // index.ts, and dataset.ts of the data sets, are the lists of their units.
  const isList = name(unit) === 'index' || unit === 'dataset.ts';
  const apart = name(unit) !== name(toUnit) && !isList && name(toUnit) !== 'types';
  const sideways = layer === toLayer && separateUnits.has(layer) && apart;
  return sideways ? `${file} imports ${specifier}: sideways inside ${layer}` : undefined;
}

t.test('imports go downwards', async (t) => {
  const layers = new Set(typescript.map((file) => file.split('/')[1] ?? ''));
  t.same(
    [...layers].filter((layer) => !allowed.has(layer)),
    [],
    'every folder of lib is a layer of the table',
  );
  const edges = typescript.flatMap((file) => importsOf(parse(file)).map((specifier) => badEdge(file, specifier)));
  t.same(
    edges.filter((edge) => edge !== undefined),
    [],
    `${edges.length} imports follow the table`,
  );
});

t.test('the check sees what it forbids', async (t) => {
  t.match(badEdge('lib/nn/x.ts', '../binding/addon.js'), /nn may not import binding/);
  t.match(badEdge('lib/text/x.ts', '../engine/tensor.js'), /text may not import engine/);
  t.match(badEdge('lib/cli/x.ts', '#lib/binding/addon.js'), /cli may not import binding/);
  t.match(badEdge('lib/systems/a/x.ts', '../b/y.js'), /sideways/);
  t.match(badEdge('lib/data/a.ts', './b.js'), /sideways/);
  t.equal(badEdge('lib/systems/a/x.ts', './y.js'), undefined);
  t.equal(badEdge('lib/systems/a/x.ts', '../../backbones/clip/model.js'), undefined);
  const source = ts.createSourceFile(
    'x.ts',
    "import type A from './a.js'; export * from './b.js'; let c: import('./c.js').C; import('./d.js');",
    99,
  );
  t.same(importsOf(source), ['./a.js', './b.js', './c.js', './d.js']);
});

t.test('the add-on is found in one place', async (t) => {
  const knowing = typescript.filter((file) => /\w\.node['"`]/.test(read(file)) && !file.startsWith('lib/binding/'));
  t.same(knowing, [], 'only lib/binding names the .node file');
});

t.test('native includes go downwards', async (t) => {
  const bad = native.flatMap((file) => {
    const folder = Object.keys(includes).find((prefix) => file.startsWith(`${prefix}/`)) ?? '';
    const named = [...read(file).matchAll(/^#include "([^"]+)"/gm)].map((match) => match[1] ?? '');
    return named
      .filter((header) => !includes[folder]?.some((prefix) => header.startsWith(`${prefix}/`)))
      .map((header) => `${file} includes ${header}`);
  });
  t.same(bad, [], `${native.length} native files follow the table`);
  const napi = native.filter((file) => /#include <napi\.h>/.test(read(file)) && !file.startsWith('native/napi/'));
  t.same(napi, [], 'only native/napi includes napi.h');
});

t.test('every card is exported', async (t) => {
  const cards = typescript.filter(
    (file) => /^lib\/engine\/ops\/\w+\/\w+\.ts$/.test(file) && /\bdefineOp\(/.test(read(file)),
  );
  const missing = cards.filter(
    (file) => !read(posix.join(dirname(file), 'index.ts')).includes(`./${basename(file, '.ts')}.js`),
  );
  t.same(missing, [], `${cards.length} op files are in the index of their group`);
});

/** Functions over the limit: "file:line name (lines)". A class or an object literal is not a function. */
function longFunctions(source: ts.SourceFile): string[] {
  const long: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node) && 'body' in node && node.body !== undefined) {
      const start = source.getLineAndCharacterOfPosition(node.getStart()).line;
      const lines = source.getLineAndCharacterOfPosition(node.getEnd()).line - start + 1;
      if (lines > maxFunctionLines)
        long.push(`${source.fileName}:${start + 1} ${node.name?.getText() ?? 'function'} (${lines} lines)`);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return long;
}

t.test('files and functions stay short', async (t) => {
  const lines = (file: string): number => read(file).split('\n').length - 1;
  const long = [...typescript, ...native]
    .filter((file) => lines(file) > maxFileLines)
    .map((file) => `${file} (${lines(file)} lines)`);
  t.same(long, [], `no file is longer than ${maxFileLines} lines`);
  t.same(
    typescript.flatMap((file) => longFunctions(parse(file))),
    [],
    `no function is longer than ${maxFunctionLines} lines`,
  );
});

t.test('nothing is left lying about', async (t) => {
  // Spelled in parts: this file is searched as well.
  const left = new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X', 'HA' + 'CK'].join('|')})\\b`);
  const machinePath = new RegExp(
    `(?<![\\w.~-])/(${['wo' + 'rk', 'ho' + 'me', 'ro' + 'ot', 'Us' + 'ers'].join('|')})/\\w`,
  );
  const others = ['test', 'bench', 'scripts', 'include', 'examples', 'docs', 'cmake'].flatMap((folder) =>
    sources(folder, /\.(ts|mjs|js|cpp|h|cmake|md|py)$/),
  );
  const bad = [...typescript, ...native, ...others].flatMap((file) =>
    read(file)
      .split('\n')
      .flatMap((line, i) => (left.test(line) || machinePath.test(line) ? [`${file}:${i + 1} ${line.trim()}`] : [])),
  );
  t.same(bad, [], 'no unfinished work, no paths of one machine');
});
