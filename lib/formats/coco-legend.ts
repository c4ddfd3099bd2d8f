/** Categories of a COCO file as a legend and back. */

import { WordmaskError } from '../util/errors.js';
import { isColour, type LegendEntry, parseLegend } from './format.js';
import { categoryId, integerField, isObject, type JsonObject, objectList, textField } from './json.js';

export interface CategoryLegend {
  legend: LegendEntry[];
  /** From category id to legend index. */
  indexOf: ReadonlyMap<number, number>;
}

/**
 * Our own files carry the exact legend under `legend`, with category ids one above its indices. In a foreign list
 * (COCO's 1 to 90 with gaps) the categories are numbered in the order of their ids.
 */
export function readCategories(root: unknown, what: string): CategoryLegend {
  const own = parseLegend(isObject(root) ? root.legend : undefined);
  if (own) return { legend: own, indexOf: new Map(own.map(({ index }) => [categoryId(index), index])) };
  const categories = objectList(root, 'categories', what);
  const ids = categories.map((item) => integerField(item, 'id', `${what} category`));
  if (new Set(ids).size !== ids.length) throw new WordmaskError('E_USAGE', `${what}: two categories have the same id`);
  const indexOf = new Map([...ids].sort((a, b) => a - b).map((id, rank) => [id, rank]));
  return { legend: categories.map((item, i) => entryOf(item, indexOf.get(ids[i] as number) as number, what)), indexOf };
}

function entryOf(item: JsonObject, index: number, what: string): LegendEntry {
  const { color, supercategory, isthing } = item;
  return {
    index,
    name: textField(item, 'name', `${what} category`),
    ...(isColour(color) && { color }),
    ...(typeof supercategory === 'string' && supercategory !== '' && { group: supercategory }),
    ...((isthing === 0 || isthing === 1 || isthing === true || isthing === false) && { thing: Boolean(isthing) }),
  };
}
