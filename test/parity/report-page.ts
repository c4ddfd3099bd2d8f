/**
 * The report in a real browser, by hand:
 *   node build/ts/test/parity/report-page.js [--browser chromium] [--out FOLDER]
 * Opens a page of 847 classes with hostile names and one of a real evaluation, wide and narrow, light and dark, and checks that nothing is
 * requested, refused or logged, that no script of others runs, that the page is not wider than the screen, that the table of classes sorts and
 * filters, and that keys reach everything. With --out the pages and screenshots stay there.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { parseArgs } from 'node:util';
import { evaluate, renderReport, writeReportFile } from 'wordmask/eval';
import { open } from '#lib/pipelines/open.js';
import { sampleReport } from '../eval/sample-report.js';
import { sceneSet } from '../helpers/eval.js';

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: Record<string, unknown>;
}

/** The DevTools protocol over pipes: messages end with a zero byte. */
class Browser {
  readonly events: Message[] = [];
  readonly #waiting = new Map<number, (message: Message) => void>();
  readonly #input: Writable;
  #count = 0;
  #rest = '';
  session: string | undefined;

  constructor(readonly process: ChildProcess) {
    this.#input = process.stdio[3] as Writable;
    (process.stdio[4] as Readable).on('data', (piece: Buffer) => this.#take(piece));
  }

  static start(command: string, profile: string): Browser {
    const flags = [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--remote-debugging-pipe',
      `--user-data-dir=${profile}`,
    ];
    return new Browser(spawn(command, flags, { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] }));
  }

  #take(piece: Buffer): void {
    const parts = (this.#rest + piece.toString()).split('\0');
    this.#rest = parts.pop() ?? '';
    for (const part of parts) {
      const message = JSON.parse(part) as Message;
      if (message.id === undefined) this.events.push(message);
      else this.#waiting.get(message.id)?.(message);
    }
  }

  send(method: string, params: object = {}): Promise<Record<string, never>> {
    const id = ++this.#count;
    const session = this.session === undefined ? {} : { sessionId: this.session };
    this.#input.write(`${JSON.stringify({ id, method, params, ...session })}\0`);
    return new Promise((resolve) => this.#waiting.set(id, ({ result }) => resolve((result ?? {}) as never)));
  }

  async page(): Promise<void> {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    this.session = sessionId;
    for (const domain of ['Page', 'Runtime', 'Network', 'Log']) await this.send(`${domain}.enable`);
  }

  /** Value of an expression in the page. */
  async ask<T>(expression: string): Promise<T> {
    const { result } = await this.send('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true });
    return (result as { value: T } | undefined)?.value as T;
  }

  async visit(url: string, width: number, scheme: string): Promise<void> {
    this.events.length = 0;
    const size = { width, height: 900, deviceScaleFactor: 1, mobile: width < 500 };
    await this.send('Emulation.setDeviceMetricsOverride', size);
    await this.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
    await this.send('Page.navigate', { url });
    while (!this.events.some(({ method }) => method === 'Page.loadEventFired'))
      await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const sorted = `(() => {
  const button = document.querySelectorAll('#per-class thead button')[1];
  const values = () => [...document.querySelectorAll('#per-class tbody tr')].map((row) => row.cells[1].dataset.v).filter(Boolean).map(Number);
  const rising = (list) => list.every((value, i) => i === 0 || list[i - 1] <= value);
  button.click(); const falls = rising(values().reverse());
  button.click(); return falls && rising(values());
})()`;
const filtered = `(() => {
  const field = document.getElementById('find');
  const shown = (word) => { field.value = word; field.dispatchEvent(new Event('input'));
    return [...document.querySelectorAll('#per-class tbody tr')].filter((row) => row.offsetHeight > 0).length; };
  return shown('no such class') === 0 && shown('') === document.querySelectorAll('#per-class tbody tr').length;
})()`;
const refused = `Promise.all([
  fetch('data:,x').then(() => false, () => true),
  new Promise((done) => { const image = new Image(); image.onload = () => done(false); image.onerror = () => done(true); image.src = 'http://127.0.0.1:9/x.png'; }),
]).then((all) => all.every(Boolean))`;

async function checkPage(browser: Browser, url: string, width: number, scheme: string): Promise<[string, boolean][]> {
  await browser.visit(url, width, scheme);
  const of = (...methods: string[]): Message[] => browser.events.filter(({ method }) => methods.includes(method ?? ''));
  const urls = of('Network.requestWillBeSent').map(({ params }) =>
    String((params?.request as { url?: string } | undefined)?.url),
  );
  const said = of(
    'Log.entryAdded',
    'Runtime.consoleAPICalled',
    'Runtime.exceptionThrown',
    'Page.javascriptDialogOpening',
  );
  const results: [string, boolean][] = [
    ['asks for nothing but itself', urls.filter((each) => !each.startsWith('data:')).join() === url],
    ['nothing is refused, logged or thrown', said.length === 0],
    ['not wider than the screen', await browser.ask<boolean>('document.documentElement.scrollWidth <= innerWidth')],
    [
      'follows the scheme',
      (await browser.ask<string>('getComputedStyle(document.body).backgroundColor')) ===
        (scheme === 'dark' ? 'rgb(21, 24, 28)' : 'rgb(255, 255, 255)'),
    ],
    [
      'pictures are drawn',
      await browser.ask<boolean>('[...document.images].every((image) => image.complete && image.naturalWidth > 0)'),
    ],
    ['sorts', await browser.ask<boolean>(sorted)],
    ['filters', await browser.ask<boolean>(filtered)],
    ['can load nothing', await browser.ask<boolean>(refused)],
  ];
  const reached = new Set<string>();
  await browser.ask('document.activeElement.blur()');
  for (let i = 0; i < 40; i++) {
    for (const type of ['keyDown', 'keyUp'])
      await browser.send('Input.dispatchKeyEvent', { type, key: 'Tab', code: 'Tab', windowsVirtualKeyCode: 9 });
    reached.add(await browser.ask<string>('document.activeElement.tagName'));
  }
  results.push([
    'keys reach links, field, headings, tables',
    ['A', 'INPUT', 'BUTTON', 'DIV'].every((tag) => reached.has(tag)),
  ]);
  return results;
}

const { values } = parseArgs({
  options: { browser: { type: 'string', default: 'chromium' }, out: { type: 'string' } },
});
const folder = values.out ?? (await mkdtemp(join(tmpdir(), 'wordmask-page-')));
await mkdir(folder, { recursive: true });
const hostile = [
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(2)>',
  "a'b|c\n# x",
  'x'.repeat(300),
  '\u202elive',
];
const classes = [...hostile, ...Array.from({ length: 842 }, (_, i) => `class ${i}`)];
await writeFile(
  join(folder, 'hostile.html'),
  renderReport(sampleReport({ classes, failed: 2 }), { title: hostile[1] as string }),
);
{
  await using model = await open('tiny', { device: 'cpu' });
  const dataset = sceneSet(12);
  await writeReportFile(join(folder, 'scenes.html'), { report: await evaluate({ model, dataset }), dataset, model });
}
const profile = await mkdtemp(join(tmpdir(), 'wordmask-browser-'));
const browser = Browser.start(values.browser, profile);
let failed = 0;
await browser.page();
for (const name of ['hostile', 'scenes'])
  for (const [width, scheme] of [
    [1280, 'light'],
    [390, 'dark'],
  ] as const) {
    const checks = await checkPage(browser, `file://${join(folder, `${name}.html`)}`, width, scheme);
    for (const [what, fine] of checks) {
      if (!fine) failed++;
      console.log(`${fine ? 'ok    ' : 'NOT OK'} ${name}, ${width} px, ${scheme}: ${what}`);
    }
    await browser.ask('document.activeElement.blur(), scrollTo(0, 0)');
    const height = await browser.ask<number>('document.documentElement.scrollHeight');
    const clip = { x: 0, y: 0, width, height, scale: 1 };
    const { data } = await browser.send('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true, clip });
    await writeFile(join(folder, `${name}-${width}-${scheme}.png`), Buffer.from(data as unknown as string, 'base64'));
  }
browser.process.kill();
await rm(profile, { recursive: true, force: true, maxRetries: 5 });
if (values.out === undefined) await rm(folder, { recursive: true, force: true });
console.log(failed === 0 ? 'all checks passed' : `${failed} checks failed`);
process.exitCode = failed === 0 ? 0 : 1;
