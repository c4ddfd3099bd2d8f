/** Atomic writing, limited reading, strict JSON. */
import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { readFileLimited, sha256, sha256File, writeFileAtomic } from '#lib/util/files.js';
import { canonicalJson, parseJsonStrict } from '#lib/util/json.js';

async function folder(t: { teardown(fn: () => Promise<void>): void }): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'wm-'));
  t.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

t.test('writing', async (t) => {
  const dir = await folder(t);
  const path = join(dir, 'a.bin');
  await writeFileAtomic(path, 'old');
  await writeFileAtomic(path, [Buffer.from('ne'), Buffer.from('w')]);
  t.equal(await readFile(path, 'utf8'), 'new');
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('half');
    throw new Error('source broke');
  }
  await t.rejects(writeFileAtomic(path, failing()), /source broke/);
  const controller = new AbortController();
  async function* aborting(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('half');
    controller.abort(new Error('stop'));
    yield Buffer.from('rest');
  }
  await t.rejects(writeFileAtomic(path, aborting(), { signal: controller.signal }), /stop/);
  t.equal(await readFile(path, 'utf8'), 'new', 'the old file is whole');
  t.same(await readdir(dir), ['a.bin'], 'no temporary file stays');
  await t.rejects(writeFileAtomic(join(dir, 'no', 'b'), 'x'), { code: 'E_DISK', message: /no such file or folder/ });
  await writeFileAtomic(join(dir, 'yes', 'b'), 'x', { createFolder: true });
  await t.rejects(writeFileAtomic(join(dir, 'yes'), 'x'), { code: 'E_DISK', message: /folder/ });
  await t.rejects(writeFileAtomic(join(path, 'b'), 'x'), { code: 'E_DISK', message: /not a folder/ });
  await t.rejects(writeFileAtomic(join(dir, 'n'.repeat(300)), 'x'), { code: 'E_DISK', message: /too long/ });
  if (process.getuid?.() !== 0) {
    await mkdir(join(dir, 'closed'));
    await chmod(join(dir, 'closed'), 0o500);
    await t.rejects(writeFileAtomic(join(dir, 'closed', 'b'), 'x'), { code: 'E_DISK', message: /permission/ });
  }
});

t.test('a disk that is full', { skip: process.platform === 'win32' ? 'needs ulimit' : false }, async (t) => {
  const dir = await folder(t);
  const path = join(dir, 'a.bin');
  await writeFileAtomic(path, 'old');
  const script = `import(${JSON.stringify(import.meta.resolve('#lib/util/files.js'))}).then((m) => m.writeFileAtomic(${JSON.stringify(path)}, new Uint8Array(1 << 20))).catch((e) => console.log(e.code, e.message))`;
  const { stdout } = await promisify(execFile)('bash', [
    '-c',
    `trap '' XFSZ; ulimit -f 64; exec ${process.execPath} -e '${script}'`,
  ]);
  t.match(stdout, /^E_DISK cannot write .*larger than the system allows/);
  t.equal(await readFile(path, 'utf8'), 'old', 'the old file is whole');
  t.same(await readdir(dir), ['a.bin'], 'no temporary file stays');
});

t.test('reading', async (t) => {
  const dir = await folder(t);
  const path = join(dir, 'a');
  await writeFile(path, 'abc');
  t.equal((await readFileLimited(path, { limit: 3 })).toString(), 'abc');
  await t.rejects(readFileLimited(path, { limit: 2, code: 'E_TOKENIZER' }), {
    code: 'E_TOKENIZER',
    message: /3 bytes, at most 2/,
  });
  await t.rejects(readFileLimited(dir, { limit: 3 }), { message: /is a folder/ });
  await t.rejects(readFileLimited(join(dir, 'b'), { limit: 3, code: 'E_MODEL_FORMAT' }), { code: 'E_MODEL_FORMAT' });
  await symlink('loop', join(dir, 'loop'));
  await t.rejects(readFileLimited(join(dir, 'loop'), { limit: 3 }), { code: 'E_DISK', message: /loop/ });
  if (process.platform !== 'win32') {
    await promisify(execFile)('mkfifo', [join(dir, 'pipe')]);
    await t.rejects(
      readFileLimited(join(dir, 'pipe'), { limit: 3 }),
      { message: /pipe/ },
      'a pipe without a writer does not hang',
    );
  }
  t.equal(await sha256File(path), sha256('abc'));
  t.equal(sha256('abc'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
});

t.test('strict JSON', async (t) => {
  const options = { code: 'E_MODEL_FORMAT', what: 'x.json' } as const;
  t.same(parseJsonStrict('{"a":{"a":[1,{"a":2}]}}', options), { a: { a: [1, { a: 2 }] } });
  t.throws(() => parseJsonStrict('{"a":1,"\\u0061":2}', options), {
    code: 'E_MODEL_FORMAT',
    message: /"a" occurs twice/,
  });
  t.throws(() => parseJsonStrict('{"a":[{"b":"\\"{","b":2}]}', options), { message: /"b" occurs twice/ });
  t.throws(() => parseJsonStrict('{"a":1', options), { message: /not JSON/ });
  t.throws(() => parseJsonStrict(Uint8Array.of(0x22, 0xff, 0x22), options), { message: /not UTF-8/ });
  t.throws(() => parseJsonStrict('['.repeat(100_000), options), { code: 'E_MODEL_FORMAT' });
  t.throws(() => parseJsonStrict(`${'['.repeat(65)}${']'.repeat(65)}`, options), { message: /deeper than 64/ });
  const polluted = parseJsonStrict('{"__proto__":{"x":1}}', options) as Record<string, unknown>;
  t.equal(polluted.x, undefined);
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => {
      t.same(parseJsonStrict(JSON.stringify(value), options), JSON.parse(JSON.stringify(value)));
      t.equal(canonicalJson(JSON.parse(canonicalJson(value))), canonicalJson(value));
    }),
    { numRuns: 100 },
  );
  t.equal(canonicalJson({ b: 1, a: [undefined, 'é'], c: undefined }), '{"a":[null,"é"],"b":1}');
});
