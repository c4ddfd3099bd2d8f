/** Row 9: other vocabularies for the same pictures. */
import { sceneClasses, synonyms } from '../../data/drawn-scenes/index.js';
import type { Model } from '../../pipelines/model.js';
import { Vocabulary } from '../../pipelines/vocabulary.js';
import { asks, asksAll, sceneSet, score } from './scenes.js';
import { bestSetting, readAt, small } from './settings.js';
import { markdown, percent, secondsSince, type Table, type TableRow } from './table.js';

/** Names of what is in no scene; no word of a caption is among them. */
export const distractors: readonly string[] = [
  ...['dog', 'cat', 'horse', 'cow', 'sheep', 'elephant', 'giraffe', 'lion', 'monkey', 'rabbit', 'snake', 'spider'],
  ...['bicycle', 'truck', 'train', 'helicopter', 'tractor', 'scooter', 'canoe', 'skateboard', 'wagon', 'sledge'],
  ...['apple', 'banana', 'carrot', 'bread', 'cheese', 'pizza', 'cake', 'egg', 'lemon', 'pumpkin', 'grape', 'melon'],
  ...['hammer', 'knife', 'spoon', 'bottle', 'plate', 'bowl', 'kettle', 'basket', 'bucket', 'ladder', 'rope', 'anchor'],
  ...[
    'guitar',
    'piano',
    'drum',
    'trumpet',
    'violin',
    'bell',
    'clock',
    'mirror',
    'candle',
    'pillow',
    'blanket',
    'carpet',
  ],
  ...['shirt', 'trousers', 'shoe', 'hat', 'glove', 'scarf', 'ring', 'crown', 'wallet', 'backpack', 'glasses', 'watch'],
  ...['eraser', 'pencil', 'letter', 'newspaper', 'keyboard', 'telephone', 'toaster', 'television', 'radio', 'printer'],
  ...['castle', 'church', 'tower', 'tunnel', 'windmill', 'lighthouse', 'statue', 'fountain', 'well', 'tent', 'gate'],
  ...['river', 'lake', 'waterfall', 'desert', 'volcano', 'cave', 'swamp', 'glacier', 'jungle', 'mud', 'ice', 'fog'],
];

/** Adjectives that no caption has. */
export const unseenAdjectives = ['wet', 'ancient', 'expensive'] as const;

const word = (name: (typeof sceneClasses)[number], i: number): string =>
  synonyms[name][Math.min(i, synonyms[name].length - 1)] as string;

function vocabularies(): Record<string, Vocabulary> {
  const renamed = (prompts: (name: (typeof sceneClasses)[number]) => string[]): Vocabulary =>
    Vocabulary.from(sceneClasses.map((name) => ({ name, prompts: prompts(name) })));
  const withOthers = (names: number): Vocabulary =>
    Vocabulary.from([...sceneClasses, ...distractors.slice(0, names - sceneClasses.length)]);
  return {
    '34 names': Vocabulary.from(sceneClasses),
    '68 names': withOthers(68),
    '136 names': withOthers(136),
    'second word of each class': renamed((name) => [word(name, 1)]),
    'third word of each class': renamed((name) => [word(name, 2)]),
    'all words of each class': renamed((name) => [...synonyms[name]]),
    ...Object.fromEntries(
      unseenAdjectives.map((adjective) => [
        `"${adjective}" before each name`,
        renamed((name) => [`${adjective} ${name}`]),
      ]),
    ),
  };
}

const heldOut = '34 names, colours in new company';

export const row9: TableRow = {
  row: 9,
  title: 'Other words',
  about:
    'The best read-out of row 4 with other vocabularies: names of things that are in no scene, other words for the classes, adjectives ' +
    'that no caption has; last, scenes whose things have colours that they never have in training. Loss against the 34 names in points.',
  async measure(table) {
    const setting = bestSetting(table.view);
    const model = await table.model('tiny', setting.system);
    if (!model) return;
    const began = performance.now();
    const options = readAt(model, setting.scale, setting.mode);
    const scenes = sceneSet('test', small, table.limit);
    const vocabs = vocabularies();
    for (const vocab of Object.values(vocabs)) await table.vocabulary(model, vocab);
    const found = await score(scenes, asksAll(model, vocabs, options), table.watch(9, 'words'));
    const seconds = secondsSince(began) / Object.keys(found).length;
    for (const [name, figures] of Object.entries(found))
      await table.put({ row: 9, case: name, model, name: 'tiny', scenes, options: { ...setting }, figures, seconds });
    await measureHeldOut(table, model, options, setting);
  },
  render(view) {
    const names = view.figure(9, '34 names', 'mIoU');
    return markdown(
      ['vocabulary', 'all', 'stuff', 'things', 'loss'],
      view.row(9).map(({ case: name, figures: f }) => {
        // Other scenes are no loss against these.
        const loss = names === undefined || name === heldOut ? undefined : names - (f.mIoU ?? Number.NaN);
        return [name, percent(f.mIoU), percent(f.stuff), percent(f.things), percent(loss)];
      }),
    );
  },
  expectations: () => [],
};

async function measureHeldOut(
  table: Table,
  model: Model,
  options: ReturnType<typeof readAt>,
  setting: ReturnType<typeof bestSetting>,
): Promise<void> {
  const began = performance.now();
  const scenes = sceneSet('test-composition', small, table.limit);
  const vocab = await table.vocabulary(model);
  const { answer } = await score(scenes, asks(model, vocab, options), table.watch(9, heldOut));
  await table.put({
    row: 9,
    case: heldOut,
    model,
    name: 'tiny',
    scenes,
    options: { ...setting },
    figures: answer,
    seconds: secondsSince(began),
  });
}
