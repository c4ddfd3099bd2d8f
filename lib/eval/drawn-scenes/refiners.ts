/** Row 7: refiners on the best output. */
import type { SegmentOptions } from '../../pipelines/segment-options.js';
import { gain } from './read-outs.js';
import { asks, sceneSet, score } from './scenes.js';
import { bestSetting, readAt, small } from './settings.js';
import { markdown, percent, secondsSince, type TableRow } from './table.js';

/** Chosen on 40 scenes of split `val`: a thing of a test scene is some 40 pixels wide, in the photographs of published settings 100. */
export const refiners: Readonly<Record<string, SegmentOptions['refine']>> = {
  none: 'none',
  pamr: { name: 'pamr', steps: 10, dilations: [2, 4, 8, 12] },
  crf: {
    name: 'crf',
    iterations: 10,
    gaussian: { sxy: 1, compat: 3 },
    bilateral: { sxy: 40, srgb: 13, compat: 20 },
  },
};

export const row7: TableRow = {
  row: 7,
  title: 'Refiners on the best output',
  about:
    'The best read-out of row 4, without and with PAMR (10 steps, dilations 2, 4, 8, 12) and the dense CRF (10 steps; position 1, weight ' +
    '3; position 40, colour 13, weight 20), settings chosen on scenes of split `val`. Boundary F: edges within 0.75% of the diagonal.',
  async measure(table) {
    const setting = bestSetting(table.view);
    const model = await table.model('tiny', setting.system);
    if (!model) return;
    const vocab = await table.vocabulary(model);
    const scenes = sceneSet('test', small, table.limit);
    const base = readAt(model, setting.scale, setting.mode);
    for (const [name, refine] of Object.entries(refiners)) {
      const began = performance.now();
      const { answer } = await score(scenes, asks(model, vocab, { ...base, refine }), table.watch(7, name), true);
      await table.put({
        row: 7,
        case: name,
        model,
        name: 'tiny',
        scenes,
        options: { ...setting, ...(base as Record<string, never>), refine: refine as never },
        figures: answer as Record<string, number>,
        seconds: secondsSince(began),
      });
    }
  },
  render: (view) =>
    markdown(
      ['refiner', 'all', 'stuff', 'things', 'boundary F', 'of things'],
      view
        .row(7)
        .map(({ case: name, figures: f }) => [
          name,
          ...[f.mIoU, f.stuff, f.things, f.boundaryF, f.boundaryFThings].map((value) => percent(value)),
        ]),
    ),
  expectations: (view) =>
    (['pamr', 'crf'] as const).flatMap((name) =>
      (['mIoU', 'boundaryF'] as const).map((figure) =>
        gain(
          `${name === 'pamr' ? 'PAMR' : 'The CRF'} raises ${figure === 'mIoU' ? 'mIoU' : 'boundary F'}`,
          view.figure(7, 'none', figure),
          view.figure(7, name, figure),
          1e-9,
        ),
      ),
    ),
};
