/** `coco`: detection-style JSON with compressed column-major run lengths; one annotation a segment. */
import { Mask, type Rle } from '../image/mask.js';
import { show, WordmaskError } from '../util/errors.js';
import { Slices } from '../util/slices.js';
import { readCategories } from './coco-legend.js';
import { polygonRle } from './coco-polygon.js';
import { checkResult, fileBytes, type LabelFormat, type LabelSegment, type ReadOptions } from './format.js';
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
import { isSemantic, labelsOfSegments, segmentsOf } from './segments.js';

export const coco: LabelFormat = {
  name: 'coco',
  extension: '.json',
  async write(result, options = {}) {
    checkResult(result);
    const { width, height } = result;
    const imageId = options.imageId ?? 1;
    const segments = await segmentsOf(result, options.signal);
    const slices = new Slices(options.signal);
    const annotations: JsonObject[] = [];
    for (const { id, label, score, mask } of segments) {
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
      if (slices.due) await slices.pause();
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
      const { score } = item;
      segments.push({
        id: integerField(item, 'id', 'coco annotation', 1),
        label,
        area: mask.area,
        bbox: mask.bbox,
        mask,
        ...(typeof score === 'number' && { score }),
      });
      if (slices.due) await slices.pause();
    }
    const provenance = provenanceOf(root);
    const labels = await labelsOfSegments(segments, legend, width, height, options.signal);
    return {
      width,
      height,
      labels,
      legend,
      ...(!isSemantic(segments) && { segments }),
      ...(provenance && { provenance }),
    };
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
