/** A small picture for the page: scenes, truth and prediction side by side. */
import { type SheetCell, writeSheet } from '../../data/drawn-scenes/sheet.js';
import type { Model } from '../../pipelines/model.js';
import type { SegmentOptions } from '../../pipelines/segment-options.js';
import type { Vocabulary } from '../../pipelines/vocabulary.js';
import { labelsOf, pictures, sceneSet } from './scenes.js';
import { small } from './settings.js';

/** PNG bytes: a row a scene; picture, true labels, the model's labels. */
export async function gridPicture(
  model: Model,
  vocab: Vocabulary,
  options: SegmentOptions,
  { count, signal }: { count: number; signal?: AbortSignal },
): Promise<Uint8Array> {
  const set = sceneSet('test', small, count);
  const rows: SheetCell[][] = [];
  for await (const group of pictures(set, { signal }))
    for (const picture of group)
      rows.push([
        { rgb: picture.image.data },
        { labels: picture.truth },
        { labels: await labelsOf(model, picture, vocab, options) },
      ]);
  return writeSheet(rows, set, signal);
}
