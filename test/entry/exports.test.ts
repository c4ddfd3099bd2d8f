/**
 * The public surface: every entry loads by the package's own name, through import and require, and exports exactly the
 * names of test/golden/exports.json. A name that goes is a breaking change; one that comes is a promise. To accept what
 * is there now: UPDATE_GOLDEN=1 node build/ts/test/entry/exports.test.js
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import t from 'tap';
import ts from 'typescript';
import { opCards } from '#lib/engine/index.js';
import * as ops from '#lib/engine/ops/index.js';
import { root } from '../helpers/fixture.js';

const golden = join(root, 'test', 'golden', 'exports.json');
const { exports: entries } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  exports: Record<string, { types: string; default: string } | string>;
};

interface Names {
  values: string[];
  types: string[];
}

/** Exported names as the declaration files say; types are those without a value. */
function declared(): Record<string, Names> {
  const modules = Object.entries(entries).flatMap(([name, entry]) =>
    typeof entry === 'string' ? [] : [[name.replace('.', 'wordmask'), join(root, entry.types)] as const],
  );
  const options = {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    noLib: true,
    types: [],
  };
  const program = ts.createProgram(
    modules.map(([, file]) => file),
    options,
  );
  const checker = program.getTypeChecker();
  const found: Record<string, Names> = {};
  for (const [name, file] of modules) {
    const symbol = checker.getSymbolAtLocation(program.getSourceFile(file) as ts.SourceFile) as ts.Symbol;
    const names: Names = { values: [], types: [] };
    for (const exported of checker.getExportsOfModule(symbol)) {
      const target = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
      names[target.flags & ts.SymbolFlags.Value ? 'values' : 'types'].push(exported.name);
    }
    found[name] = { values: names.values.sort(), types: names.types.sort() };
  }
  return found;
}

t.test('names of every entry', async (t) => {
  const found = declared();
  if (process.env.UPDATE_GOLDEN) writeFileSync(golden, `${JSON.stringify(found, null, 2)}\n`);
  t.same(
    found,
    JSON.parse(readFileSync(golden, 'utf8')),
    'test/golden/exports.json (its header in this file says how to update)',
  );
  const require = createRequire(import.meta.url);
  for (const [name, { values }] of Object.entries(found)) {
    const imported = (await import(name)) as Record<string, unknown>;
    t.same(Object.keys(imported).sort(), values, `${name}: declarations and module agree`);
    for (const value of values) t.not(imported[value], undefined, `${name}: ${value}`);
    const required = require(name) as Record<string, unknown>;
    for (const value of values) t.equal(required[value], imported[value], `require('${name}').${value}`);
  }
  t.ok((require('wordmask/package.json') as { version: string }).version);
});

/** user-interfaces.md sections 2 and 12, as far as this version goes. */
const promised: Record<string, string[]> = {
  wordmask: ['open', 'Vocabulary', 'Mask', 'Segmentation', 'WordmaskError', 'devices', 'plan'],
  'wordmask/backbones': ['loadBackbone', 'preprocess'],
  'wordmask/native': [
    'denseCrf',
    'pamr',
    'attention',
    'resize',
    'slidingWindows',
    'gaussianBlur',
    'connectedComponents',
    'capi',
    'includeDir',
    'cmakeDir',
    'abiVersion',
  ],
  'wordmask/train': ['Tensor', 'backward', 'noGrad', 'scope', 'checkpoint', 'freeze', 'losses'],
  'wordmask/eval': [
    'confusion',
    'semanticScores',
    'reduceZeroLabel',
    'panopticQuality',
    'maskAp',
    'boundaryScores',
    'harmonic',
  ],
  'wordmask/text': ['loadTokenizer', 'templates', 'classes'],
  'wordmask/formats': ['readLabels', 'writeLabels', 'formatNames', 'Mask'],
};

t.test('promised names are there', async (t) => {
  for (const [name, wanted] of Object.entries(promised)) {
    const imported = (await import(name)) as Record<string, unknown>;
    for (const value of wanted) t.ok(value in imported, `${name}: ${value}`);
  }
});

/** Differentiable ops that users reach through another function or not at all. */
const inner = new Set(['dropout', 'sumTo']);

t.test('every differentiable op is in wordmask/train', async (t) => {
  const train = (await import('wordmask/train')) as Record<string, unknown>;
  for (const card of opCards().values()) {
    const name = card.name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
    if (!card.grad || card.name.endsWith('_bwd') || inner.has(name)) continue;
    t.equal(train[name], (ops as Record<string, unknown>)[name], name);
  }
});

t.test('what another add-on needs', async (t) => {
  const native = await import('wordmask/native');
  t.match(readFileSync(join(native.includeDir, 'wordmask.h'), 'utf8'), /wm_/);
  t.match(readFileSync(join(native.cmakeDir, 'wordmask-config.cmake'), 'utf8'), /wordmask/);
  t.ok(Number.isInteger(native.abiVersion) && native.abiVersion > 0);
  t.equal(typeof native.capi, 'object');
});
