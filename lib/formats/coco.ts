/** `coco`: detection-style JSON with compressed column-major run lengths; one annotation a segment. */
import { Mask, type Rle } from '../image/mask.js';
import { show, WordmaskError } from '../util/errors.js';
import { Slices } from '../util/slices.js';
import { readCategories } from './coco-legend.js';
import { polygonRle } from './coco-polygon.js';
import { fileBytes, type LabelFormat, type LabelSegment, type ReadOptions } from './format.js';
import {
  categoriesOf,
  categoryId,
  integerField,
  isObject,
  type JsonObject,
  jsonBytes,
  objectList,
  parseJson,
  provenanceOf,
} from './json.js';
import { namedSegments, readSegment, resultOfSegments } from './segments.js';

export const coco: LabelFormat = {
  name: 'coco',
  extension: '.json',
  async write(result, options = {}) {
    const { width, height } = result;
    const imageId = options.imageId ?? 1;
    const annotations: JsonObject[] = [];
    for await (const { id, label, score, mask } of namedSegments(result, options.signal)) {
      annotations.push({
        id,
        image_id: imageId,
        category_id: categoryId(label),
        segmentation: mask.toRle(),
        bbox: mask.bbox,
        area: mask.area,
        iscrowd: 0,
        ...(score !== undefined && { score }),
      });
    }
    return jsonBytes({
      images: [
        { id: imageId, width, height, ...(options.imageFile !== undefined && { file_name: options.imageFile }) },
      ],
      annotations,
      categories: categoriesOf(result.legend),
      legend: result.legend,
      ...(result.provenance && { wordmask: result.provenance }),
    });
  },
  async read(input, options = {}) {
    const root = parseJson(fileBytes(input, '.json', 'coco'), 'coco');
    const { legend, indexOf } = readCategories(root, 'coco');
    const image = pickImage(root, options);
    const width = integerField(image, 'width', 'coco image', 1);
    const height = integerField(image, 'height', 'coco image', 1);
    const slices = new Slices(options.signal);
    const segments: LabelSegment[] = [];
    for (const item of objectList(root, 'annotations', 'coco')) {
      if (item.image_id !== image.id) continue;
      const label = indexOf.get(item.category_id as number);
      if (label === undefined)
        throw new WordmaskError(
          'E_USAGE',
          `coco annotation ${show(item.id)} has category ${show(item.category_id)}, which is not listed`,
        );
      const mask = segmentationMask(item.segmentation, width, height);
      segments.push(readSegment(integerField(item, 'id', 'coco annotation', 1), label, mask, item.score));
      if (slices.due) await slices.pause();
    }
    const provenance = provenanceOf(root);
    return resultOfSegments(segments, legend, { width, height, provenance, signal: options.signal });
  },
};

function pickImage(root: unknown, { imageId }: ReadOptions): JsonObject {
  const images = objectList(root, 'images', 'coco');
  const image = imageId === undefined ? images[0] : images.find(({ id }) => id === imageId);
  if (!image)
    throw new WordmaskError(
      'E_USAGE',
      imageId === undefined ? 'coco file lists no image' : `coco file has no image ${imageId}`,
    );
  return image;
}

/** A COCO segmentation in any of its three forms (compressed, counts, polygons) as a mask of the given size. */
export function segmentationMask(segmentation: unknown, width: number, height: number): Mask {
  if (Array.isArray(segmentation)) return polygonRle(segmentation, width, height);
  if (!isObject(segmentation))
    throw new WordmaskError('E_USAGE', `segmentation must be run lengths or polygons, got ${show(segmentation)}`);
  const { size } = segmentation;
  if (!Array.isArray(size) || size[0] !== height || size[1] !== width)
    throw new WordmaskError('E_USAGE', `segmentation has size ${show(size)}, its picture [${height}, ${width}]`);
  return Mask.fromRle(segmentation as unknown as Rle);
}
