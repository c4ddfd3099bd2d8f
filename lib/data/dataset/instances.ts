/** Label maps made of COCO's instance masks: the union of all masks, the first annotation wins, crowds too (pnp-ovss.md section 12). */
import { join } from 'node:path';
import { segmentationMask } from '../../formats/coco.js';
import { isWordmaskError, show, WordmaskError } from '../../util/errors.js';
import { byCode } from '../../util/folder.js';
import { Slices } from '../../util/slices.js';
import type { EvalItem, LabelPlane } from '../types.js';
import type { Pair } from './check.js';
import { isId, readCocoJson, stemOf } from './coco-json.js';
import type { Problems } from './problems.js';

interface Instance {
  readonly id: unknown;
  readonly categoryId: number;
  readonly segmentation: unknown;
}

export interface InstancePicture extends Pair {
  readonly size: { readonly width: number; readonly height: number };
  readonly instances: readonly Instance[];
}

export async function readInstances(
  json: string,
  images: { readonly folder: string; readonly files: ReadonlySet<string> },
  o: { categoryIds: readonly number[]; partial?: boolean; problems: Problems; signal?: AbortSignal },
): Promise<{ pictures: readonly InstancePicture[]; missing: readonly string[]; named: number }> {
  const known = new Set(o.categoryIds);
  const byImage = new Map<number | string, Instance[]>();
  const root = await readCocoJson(
    json,
    ({ id, image_id: imageId, category_id: categoryId, segmentation }) => {
      if (!isId(imageId) || !known.has(categoryId as number)) {
        o.problems.add(`${json}: annotation ${show(id)} has image ${show(imageId)}, category ${show(categoryId)}`);
        return;
      }
      const instance = { id, categoryId: categoryId as number, segmentation };
      const list = byImage.get(imageId);
      if (list) list.push(instance);
      else byImage.set(imageId, [instance]);
    },
    o.problems,
    o.signal,
  );
  const strange = [...byImage.keys()].filter((imageId) => !root.images.has(imageId)).map((imageId) => show(imageId));
  o.problems.addMany(`${json} annotates ${strange.length} images that it does not list`, strange);
  const missing: string[] = [];
  const pictures: InstancePicture[] = [];
  for (const [imageId, { file, width, height }] of root.images) {
    const id = stemOf(file);
    if (!images.files.has(file)) missing.push(id);
    else
      pictures.push({
        ...{ id, image: join(images.folder, file), size: { width, height } },
        instances: byImage.get(imageId) ?? [],
      });
  }
  missing.sort(byCode);
  if (o.partial !== true)
    o.problems.addMany(
      `${missing.length} of ${root.images.size} pictures are not in ${images.folder} (partial goes on without)`,
      missing,
    );
  pictures.sort((a, b) => byCode(a.id, b.id));
  return { pictures, missing, named: root.images.size };
}

/** Value = category id, 0 where no mask is. */
export function instanceItem({ id, image, size, instances }: InstancePicture, json: string): EvalItem {
  const { width, height } = size;
  return {
    id,
    image,
    async label(signal): Promise<LabelPlane> {
      const slices = new Slices(signal);
      const data = new Uint8Array(width * height);
      // The first annotation wins, so the last one is painted first.
      for (const instance of instances.toReversed()) {
        paint(data, instance, { width, height, json });
        if (slices.due) await slices.pause();
      }
      return { width, height, data };
    },
  };
}

function paint(
  data: Uint8Array,
  { id, categoryId, segmentation }: Instance,
  { width, height, json }: { width: number; height: number; json: string },
): void {
  try {
    const { toggles } = segmentationMask(segmentation, width, height);
    for (let i = 0; i < toggles.length; i += 2) data.fill(categoryId, toggles[i], toggles[i + 1]);
  } catch (cause) {
    if (!isWordmaskError(cause)) throw cause;
    throw new WordmaskError('E_IMAGE_FORMAT', `${json}: annotation ${show(id)}: ${cause.message}`, { cause });
  }
}
