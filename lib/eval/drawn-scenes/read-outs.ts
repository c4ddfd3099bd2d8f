/** Rows 3 and 4: training-free readings of both models, at several sizes, whole and in windows. */
import type { RecordView } from './records.js';
import { asks, sceneSet, score } from './scenes.js';
import { caseName, large, modes, readAt, type Setting, scales, small } from './settings.js';
import {
  type Alias,
  aliases,
  atLeast,
  type Expectation,
  markdown,
  percent,
  readOuts,
  secondsSince,
  type Table,
  type TableRow,
} from './table.js';

async function measureSetting(
  table: Table,
  row: number,
  name: string,
  alias: Alias,
  setting: Setting,
  size: { width: number; height: number },
): Promise<void> {
  const began = performance.now();
  const model = await table.model(alias, setting.system);
  if (!model) return;
  const vocab = await table.vocabulary(model);
  const scenes = sceneSet('test', size, table.limit);
  const options = readAt(model, setting.scale, setting.mode);
  const { answer } = await score(scenes, asks(model, vocab, options), table.watch(row, name));
  await table.put({
    row,
    case: name,
    model,
    name: alias,
    scenes,
    options: options as Record<string, never>,
    figures: answer as Record<string, number>,
    seconds: secondsSince(began),
  });
}

const row3Case = (alias: Alias, system: string, mode: string): string => `${alias} ${system} ${mode}`;

export const row3: TableRow = {
  row: 3,
  title: 'Five read-outs of both models',
  about:
    'Pictures of 192 x 128, short side at the training size: the whole picture, and windows of the training size with half of it ' +
    'as stride. `tiny-cls` was trained as an ordinary CLIP, `tiny` with its patches aligned to words. mIoU in percent.',
  async measure(table) {
    for (const alias of aliases)
      for (const system of readOuts)
        for (const mode of modes)
          await measureSetting(table, 3, row3Case(alias, system, mode), alias, { system, scale: 1, mode }, small);
  },
  render(view) {
    const rows = aliases.flatMap((alias) =>
      readOuts.flatMap((system) => {
        const found = modes.map((mode) => view.find(3, row3Case(alias, system, mode))?.figures);
        if (!found.some(Boolean)) return [];
        const cells = found.flatMap((f) => [percent(f?.mIoU), percent(f?.stuff), percent(f?.things)]);
        return [[`${alias}, ${system}`, ...cells]];
      }),
    );
    return markdown(['model, read-out', 'whole: all', 'stuff', 'things', 'windows: all', 'stuff', 'things'], rows);
  },
  expectations(view) {
    const at = (alias: Alias, system: string): number | undefined =>
      view.figure(3, row3Case(alias, system, 'whole'), 'mIoU');
    return [
      ordered(
        '`tiny-cls`, whole picture: plain < MaskCLIP <= NACLIP',
        [at('tiny-cls', 'clip'), at('tiny-cls', 'maskclip'), at('tiny-cls', 'naclip')],
        ([plain = 0, mask = 0, neighbours = 0]) => plain < mask && mask <= neighbours,
      ),
      ...(['maskclip', 'clearclip', 'naclip'] as const).map((system) =>
        gain(
          `\`tiny\`, whole picture: ${system} (no residual, no MLP) beats plain by at least 10 points`,
          at('tiny', 'clip'),
          at('tiny', system),
          0.1,
        ),
      ),
      ordered(
        '`tiny`, whole picture at the training size: NACLIP is not above MaskCLIP by more than 1 point',
        [at('tiny', 'maskclip'), at('tiny', 'naclip')],
        ([mask = 0, neighbours = 0]) => neighbours <= mask + 0.01,
      ),
    ];
  },
};

function ordered(
  text: string,
  values: readonly (number | undefined)[],
  holds: (values: readonly number[]) => boolean,
): Expectation {
  if (values.some((value) => value === undefined)) return { text };
  return { text, found: values.map((value) => percent(value)).join(', '), met: holds(values as number[]) };
}

export function gain(
  text: string,
  from: number | undefined,
  to: number | undefined,
  least: number,
  most = Infinity,
): Expectation {
  if (from === undefined || to === undefined) return { text };
  const change = to - from;
  const sign = change >= 0 ? '+' : '';
  const met = change >= least && change <= most;
  return { text, found: `${percent(from)} -> ${percent(to)} (${sign}${percent(change)})`, met };
}

const sizes = [small, large];

export const row4: TableRow = {
  row: 4,
  title: 'Larger inputs, and windows',
  about:
    '`tiny`, short side 1, 1.5 and 2 times the training size, whole and in windows of the training size (stride half of it). ' +
    'mIoU in percent: all (stuff / things).',
  async measure(table) {
    for (const size of sizes)
      for (const system of readOuts)
        for (const scale of scales)
          for (const mode of modes) {
            const setting = { system, scale, mode };
            await measureSetting(table, 4, caseName(size, setting), 'tiny', setting, size);
          }
  },
  render(view) {
    return sizes.flatMap((size) => {
      const rows = readOuts.flatMap((system) =>
        modes.flatMap((mode) => {
          const found = scales.map((scale) => view.find(4, caseName(size, { system, scale, mode }))?.figures);
          if (!found.some(Boolean)) return [];
          const cells = found.map((f) => `${percent(f?.mIoU)} (${percent(f?.stuff)} / ${percent(f?.things)})`);
          return [[`${system}, ${mode}`, ...cells]];
        }),
      );
      const table = markdown([`${size.width} x ${size.height}`, ...scales.map((scale) => `${scale}x`)], rows);
      return table.length > 0 ? [...table, ''] : [];
    });
  },
  expectations: row4Expectations,
};

function row4Expectations(view: RecordView): Expectation[] {
  const at = (setting: Setting, figure = 'mIoU'): number | undefined =>
    view.figure(4, caseName(small, setting), figure);
  const best = (figure: string): number | undefined => {
    const found = view.row(4).map((record) => record.figures[figure] ?? Number.NEGATIVE_INFINITY);
    return found.length > 0 ? Math.max(...found) : undefined;
  };
  const windowGain = (system: Setting['system'], scale: Setting['scale'], least: number, most: number): Expectation =>
    gain(
      `192 x 128, ${system} at ${scale}x: windows against the whole picture, ${most === Infinity ? 'a gain' : '-2 to +4'}`,
      at({ system, scale, mode: 'whole' }),
      at({ system, scale, mode: 'windows' }),
      least,
      most,
    );
  return [
    ...readOuts
      .filter((system) => system !== 'clip')
      .map((system) =>
        gain(
          `192 x 128, ${system}, whole picture: 1.5x is not below 1x`,
          at({ system, scale: 1, mode: 'whole' }),
          at({ system, scale: 1.5, mode: 'whole' }),
          0,
        ),
      ),
    ...([1.5, 2] as const).flatMap((scale) =>
      readOuts.map((system) =>
        system === 'clip' ? windowGain(system, scale, 1e-9, Infinity) : windowGain(system, scale, -0.02, 0.04),
      ),
    ),
    ordered(
      '192 x 128, whole picture at 2x: NACLIP level with MaskCLIP (within 1 point)',
      [at({ system: 'maskclip', scale: 2, mode: 'whole' }), at({ system: 'naclip', scale: 2, mode: 'whole' })],
      ([mask = 0, neighbours = 0]) => Math.abs(neighbours - mask) <= 0.01,
    ),
    atLeast('best read-out: all 34 classes at least 35', best('mIoU'), 0.35),
    atLeast('best read-out: stuff at least 70', best('stuff'), 0.7),
    atLeast('best read-out: things at least 20', best('things'), 0.2),
  ];
}
