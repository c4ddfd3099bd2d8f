/** Fetching from a local server that speaks the hub's routes; the cache it fills; model folders read from it. */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { assertVerified, readModelFolder, verifyFolder } from '#lib/registry/folder.js';
import { findSnapshot, hubCacheFolder, listCachedModels, removeCachedModel } from '#lib/registry/hub-cache.js';
import { findModel } from '#lib/registry/models.js';
import { type PullProgress, pullModel } from '#lib/registry/pull.js';
import { writeSafetensors } from '#lib/weights/index.js';

const commit = 'c0ffee'.padEnd(40, '0');
const id = 'acme/clip-small';

interface HubFile {
  content: Uint8Array;
  lfs: boolean;
  /** What the hub announces, when it lies. */
  oid?: string;
}

/** A hub on one port and its storage on another, with faults to order. */
class FakeHub {
  files = new Map<string, HubFile>();
  requests: { url: string; authorization?: string; range?: string }[] = [];
  /** Break the next downloads of large files after so many bytes. */
  breakAfter: number[] = [];
  /** Answer the next downloads with this status. */
  failWith: number[] = [];
  ranges = true;
  needsToken = false;
  private servers: Server[] = [];
  endpoint = '';
  private storage = '';

  async start(t: Test): Promise<this> {
    const listen = async (handler: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> => {
      const server = createServer(handler);
      this.servers.push(server);
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    };
    this.storage = await listen((request, response) =>
      this.send(request, response, decodeURIComponent((request.url ?? '').slice(1))),
    );
    this.endpoint = await listen((request, response) => this.hub(request, response));
    t.teardown(() => this.servers.forEach((server) => server.close().closeAllConnections()));
    return this;
  }

  private note(request: IncomingMessage): void {
    this.requests.push({
      url: `${request.headers.host}${request.url}`,
      authorization: request.headers.authorization,
      range: request.headers.range,
    });
  }

  private hub(request: IncomingMessage, response: ServerResponse): unknown {
    const url = new URL(request.url ?? '', this.endpoint);
    if (this.needsToken && request.headers.authorization !== 'Bearer hf_secret')
      return this.json(response, { error: 'gated' }, 401);
    if (url.pathname.startsWith(`/api/models/${id}/revision/`)) {
      this.note(request);
      const revision = decodeURIComponent(url.pathname.split('/').at(-1) ?? '');
      if (!['main', 'refs/pr/3', commit].includes(revision))
        return this.json(response, { error: 'Invalid rev id' }, 404);
      return this.json(response, {
        _id: 'x',
        id,
        sha: commit,
        private: false,
        downloads: 1,
        gated: false,
        likes: 0,
        lastModified: '2024-01-01T00:00:00.000Z',
      });
    }
    if (url.pathname === `/api/models/${id}/tree/${commit}`) return this.tree(request, response, url);
    const resolved = new RegExp(`^/${id}/resolve/${commit}/(.+)$`).exec(decodeURIComponent(url.pathname))?.[1];
    if (resolved === undefined) {
      this.note(request);
      return this.json(response, { error: 'Repository not found' }, 404);
    }
    if (!this.files.get(resolved)?.lfs) return this.send(request, response, resolved);
    this.note(request);
    response.writeHead(302, { location: `${this.storage}/${encodeURIComponent(resolved)}` }).end();
  }

  private tree(request: IncomingMessage, response: ServerResponse, url: URL): void {
    this.note(request);
    const entries = [
      { type: 'directory', path: 'onnx', size: 0, oid: '0'.repeat(40) },
      ...[...this.files].map(([path, { content, lfs, oid }]) => ({
        type: 'file',
        path,
        size: content.length,
        oid: lfs ? '1'.repeat(40) : (oid ?? gitHash(content)),
        ...(lfs ? { lfs: { oid: oid ?? sha(content), size: content.length, pointerSize: 130 } } : {}),
      })),
    ];
    const page = Number(url.searchParams.get('cursor') ?? 0);
    if (page + 2 < entries.length)
      response.setHeader('link', `<${this.endpoint}${url.pathname}?recursive=true&cursor=${page + 2}>; rel="next"`);
    this.json(response, entries.slice(page, page + 2));
  }

  private send(request: IncomingMessage, response: ServerResponse, path: string): unknown {
    this.note(request);
    const status = this.failWith.shift();
    if (status) return response.writeHead(status).end();
    const content = this.files.get(path)?.content ?? new Uint8Array();
    const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const body = this.ranges ? content.subarray(from) : content;
    if (this.ranges && from > 0)
      response.writeHead(206, { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` });
    const stop = body.length > 1000 ? this.breakAfter.shift() : undefined;
    if (stop === undefined) return response.end(body);
    response.write(body.subarray(0, stop), () => setTimeout(() => response.destroy(), 20));
  }

  private json(response: ServerResponse, value: unknown, status = 200): void {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  }
}

const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const gitHash = (bytes: Uint8Array): string =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');

async function setup(t: Test): Promise<{
  hub: FakeHub;
  cacheDir: string;
  weights: Uint8Array;
  options: { endpoint: string; cacheDir: string; env: NodeJS.ProcessEnv; retryDelayMs: number };
}> {
  const hub = await new FakeHub().start(t);
  const cacheDir = await mkdtemp(join(tmpdir(), 'wm-hub-'));
  t.teardown(() => rm(cacheDir, { recursive: true, force: true }));
  const weights = await writeSafetensors(null, [
    ['w', { shape: [100_000], data: new Float32Array(100_000).map((_, i) => i) }],
  ]);
  hub.files.set('config.json', { content: Buffer.from(JSON.stringify({ model_type: 'clip' })), lfs: false });
  hub.files.set('README.md', { content: Buffer.from('not wanted'), lfs: false });
  hub.files.set('model.safetensors', { content: weights, lfs: true });
  hub.files.set('onnx/model.onnx', { content: Buffer.from('not wanted'), lfs: true });
  hub.files.set('merges.txt', { content: Buffer.from(''), lfs: false });
  return { hub, cacheDir, weights, options: { endpoint: hub.endpoint, cacheDir, env: {}, retryDelayMs: 5 } };
}

t.test('a whole model', async (t) => {
  const { hub, cacheDir, weights, options } = await setup(t);
  const progress: PullProgress[] = [];
  const pulled = await pullModel(id, { ...options, token: 'hf_secret', onProgress: (p) => progress.push(p) });
  t.equal(pulled.commit, commit);
  t.same(
    pulled.files.map(({ path }) => path).sort(),
    ['config.json', 'merges.txt', 'model.safetensors'],
    'only what is needed',
  );
  t.ok(Buffer.compare(await readFile(join(pulled.folder, 'model.safetensors')), weights) === 0);
  t.equal(
    await readlink(join(pulled.folder, 'model.safetensors')),
    join('..', '..', 'blobs', sha(weights)),
    'the layout of the shared cache',
  );
  t.equal(await readFile(join(cacheDir, 'models--acme--clip-small', 'refs', 'main'), 'utf8'), commit);
  t.ok(
    progress.every((p, i) => i === 0 || p.done >= (progress[i - 1] as PullProgress).done),
    'progress only grows',
  );
  t.same([progress.at(-1)?.done, progress.at(-1)?.files], [progress.at(-1)?.total, 3]);
  const byToken = hub.requests.filter(({ authorization }) => authorization !== undefined);
  t.ok(
    byToken.length > 0 && byToken.every(({ url }) => `http://${url}`.startsWith(hub.endpoint)),
    'the token goes to the hub alone',
  );
  t.ok(
    hub.requests.some(({ url }) => !`http://${url}`.startsWith(hub.endpoint)),
    'large files come from elsewhere',
  );

  const before = hub.requests.length;
  const again = await pullModel(`${id}@${commit}`, options);
  t.equal(again.fetched, 0);
  t.ok(
    hub.requests.slice(before).every(({ url }) => url?.includes('/api/')),
    'a second pull fetches nothing',
  );
  await pullModel(id, { ...options, revision: 'refs/pr/3' });
  t.equal((await findSnapshot(id, { cacheDir, revision: 'refs/pr/3' })).commit, commit);
  t.same(
    (await listCachedModels(cacheDir)).map((model) => [
      model.id,
      model.snapshots.map((s) => [s.commit, [...s.refs].sort(), s.bytes]),
    ]),
    [[id, [[commit, ['main', 'refs/pr/3'], pulled.files.reduce((sum, f) => sum + f.size, 0)]]]],
  );

  const folder = await findModel({ kind: 'hub', id }, { cacheDir });
  t.same([folder.modelType, folder.hub, folder.manifest], ['clip', { id, commit }, { format: 1 }]);
  t.equal(
    (await readModelFolder(pulled.folder)).weights,
    join(pulled.folder, 'model.safetensors'),
    'the snapshot by its path',
  );
  const checks = await verifyFolder(pulled.folder);
  t.same(
    checks.map(({ file, status }) => [file, status]),
    [
      ['config.json', 'ok'],
      ['merges.txt', 'ok'],
      ['model.safetensors', 'ok'],
    ],
  );
  await writeFile(join(cacheDir, 'models--acme--clip-small', 'blobs', sha(weights)), 'damaged');
  t.throws(() => assertVerified('m', [{ file: 'a', status: 'missing' }]), { code: 'E_HASH' });
  const damaged = await verifyFolder(pulled.folder);
  t.throws(() => assertVerified(pulled.folder, damaged), {
    code: 'E_HASH',
    message: /model\.safetensors has [0-9a-f]{64}, must have/,
  });
  t.ok((await pullModel(id, options)).fetched > 0, 'a blob of the wrong size is fetched again');
  assertVerified(pulled.folder, await verifyFolder(pulled.folder));
  await removeCachedModel(id, cacheDir);
  await t.rejects(findModel({ kind: 'hub', id }, { cacheDir }), {
    code: 'E_MODEL_NOT_FOUND',
    message: /refs\/main.*wordmask models pull acme\/clip-small/,
  });
  t.equal(
    (
      await findModel({ kind: 'hub', id: 'acme/clip-small' }, { cacheDir, download: false }).catch(
        (e: { code: string }) => e,
      )
    ).constructor.name,
    'WordmaskError',
  );
});

t.test('broken connections', async (t) => {
  const { hub, options, weights, cacheDir } = await setup(t);
  hub.breakAfter = [150_000, 100_000];
  hub.failWith = [503];
  const pulled = await pullModel(id, options);
  t.ok(Buffer.compare(await readFile(join(pulled.folder, 'model.safetensors')), weights) === 0);
  const ranges = hub.requests.map(({ range }) => range).filter(Boolean);
  t.ok(
    ranges.length >= 2 && ranges.every((range) => /^bytes=\d+-$/.test(range as string)),
    `continued: ${ranges.join(' ')}`,
  );

  await removeCachedModel(id, cacheDir);
  hub.breakAfter = [100_000, 1, 1, 1];
  await t.rejects(pullModel(id, options), { code: 'E_NETWORK', retryable: true, message: /the next pull continues/ });
  const blobs = join(cacheDir, 'models--acme--clip-small', 'blobs');
  t.ok(
    (await readdir(blobs)).some((name) => name.endsWith('.incomplete')),
    'the part is kept',
  );
  hub.requests = [];
  await pullModel(id, options);
  t.ok(
    hub.requests.some(({ range }) => /^bytes=[1-9]\d{4,}-$/.test(range ?? '')),
    'the next pull continues it',
  );

  await removeCachedModel(id, cacheDir);
  hub.ranges = false;
  hub.breakAfter = [100_000];
  t.ok(
    Buffer.compare(await readFile(join((await pullModel(id, options)).folder, 'model.safetensors')), weights) === 0,
    'a server without ranges',
  );

  await removeCachedModel(id, cacheDir);
  await mkdir(blobs, { recursive: true });
  await writeFile(join(blobs, `${sha(weights)}.incomplete`), new Uint8Array(50_000));
  hub.ranges = true;
  await t.rejects(pullModel(id, options), { code: 'E_HASH' }, 'a part that is not of this file');
  await pullModel(id, options);
});

t.test('refusals', async (t) => {
  const { hub, options, cacheDir } = await setup(t);
  await t.rejects(pullModel(id, { ...options, revision: 'nothing' }), {
    code: 'E_MODEL_NOT_FOUND',
    message: /"nothing"/,
  });
  await t.rejects(pullModel('acme/other', options), { code: 'E_MODEL_NOT_FOUND' });
  for (const bad of ['acme', '../x', 'a/../b', 'a/b/c', 'a/b--c', 'a/b@../../x', 'a/b@', 'a/.b', 'a/b.git', 'a b/c'])
    await t.rejects(pullModel(bad, options), { code: 'E_MODEL_ID' }, bad);
  await t.rejects(pullModel(id, { ...options, env: { HF_HUB_OFFLINE: '1' } }), { code: 'E_OFFLINE' });
  await t.rejects(pullModel(id, { ...options, endpoint: 'http://127.0.0.1:1' }), { code: 'E_NETWORK' });
  await t.rejects(pullModel(id, { ...options, endpoint: 'file:///etc' }), { code: 'E_OPTION' });
  hub.needsToken = true;
  await t.rejects(pullModel(id, options), { code: 'E_NETWORK', retryable: false, message: /HF_TOKEN/ });
  await pullModel(id, { ...options, token: 'hf_secret' });
  hub.needsToken = false;
  await removeCachedModel(id, cacheDir);
  const weights = hub.files.get('model.safetensors') as HubFile;
  hub.files.set('model.safetensors', { ...weights, oid: 'ab'.repeat(32) });
  await t.rejects(pullModel(id, options), { code: 'E_HASH', message: /model\.safetensors/ });
  t.same(
    (await readdir(join(cacheDir, 'models--acme--clip-small', 'blobs'))).filter((name) => name.startsWith('abab')),
    [],
    'nothing of it stays',
  );
  hub.files.set('model.safetensors', { ...weights, oid: '../../../../evil' });
  await t.rejects(pullModel(id, options), { code: 'E_NETWORK', message: /hash/ });
  hub.files.set('model.safetensors', weights);
  hub.files.set('../evil.safetensors', weights);
  await t.rejects(pullModel(id, { ...options, files: () => true }), { code: 'E_NETWORK', message: /path/ });
  hub.files.delete('../evil.safetensors');
  hub.files.delete('model.safetensors');
  await t.rejects(pullModel(id, options), { code: 'E_MODEL_FORMAT', message: /no \*\.safetensors/ });
  hub.files.set('model.safetensors', weights);
  hub.failWith = new Array<number>(8).fill(404);
  await t.rejects(pullModel(id, options), { code: 'E_NETWORK', retryable: false });
  hub.failWith = [];
  const controller = new AbortController();
  const reason = new Error('enough');
  await t.rejects(
    pullModel(id, { ...options, signal: controller.signal, onProgress: () => controller.abort(reason) }),
    reason,
  );
  await t.rejects(pullModel(id, { ...options, signal: AbortSignal.abort(reason) }), reason);
});

t.test('the folder of the cache', async (t) => {
  t.equal(hubCacheFolder({ HF_HUB_CACHE: '/a', HF_HOME: '/b' }), '/a');
  t.equal(hubCacheFolder({ HF_HOME: '/b' }), join('/b', 'hub'));
  t.equal(hubCacheFolder({ XDG_CACHE_HOME: '/x' }), join('/x', 'huggingface', 'hub'));
  t.match(hubCacheFolder({}), /\.cache.huggingface.hub$/);
  const cache = await mkdtemp(join(tmpdir(), 'wm-hub-'));
  t.teardown(() => rm(cache, { recursive: true, force: true }));
  t.same(await listCachedModels(join(cache, 'none')), []);
  const snapshot = join(cache, 'models--a--b', 'snapshots', commit);
  await mkdir(snapshot, { recursive: true });
  await writeFile(join(snapshot, 'config.json'), '{"model_type":"clip"}');
  const outside = join(cache, '..', `wm-outside-${process.pid}.safetensors`);
  await writeFile(outside, 'x');
  t.teardown(() => rm(outside, { force: true }));
  await symlink(outside, join(snapshot, 'model.safetensors'));
  t.equal((await findSnapshot('a/b', { cacheDir: cache })).commit, commit, 'a single snapshot without a ref');
  await t.rejects(findModel({ kind: 'hub', id: 'a/b' }, { cacheDir: cache }), {
    code: 'E_MODEL_FORMAT',
    message: /leads out of/,
  });
  await t.rejects(findSnapshot('a/b', { cacheDir: cache, revision: 'v1' }), {
    code: 'E_MODEL_NOT_FOUND',
    message: /a\/b@v1/,
  });
});
