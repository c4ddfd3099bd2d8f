/** `polygons`: JSON outlines with holes in pixel-edge coordinates; `tolerance` 0 follows the pixel edges exactly. */
import { Mask, type Polygon } from '../image/mask.js';
import { show, WordmaskError } from '../util/errors.js';
import { Slices } from '../util/slices.js';
import { fileBytes, type LabelFormat, type LabelSegment, parseLegend } from './format.js';
import { integerField, isObject, type JsonObject, jsonBytes, objectList, parseJson, provenanceOf } from './json.js';
import { finishSegments, namedSegments, readSegment } from './segments.js';

export const polygons: LabelFormat = {
  name: 'polygons',
  extension: '.json',
  async write(result, options = {}) {
    const { width, height, legend, provenance } = result;
    const segments: JsonObject[] = [];
    for await (const { id, label, name, score, mask } of namedSegments(result, options.signal)) {
      segments.push({
        id,
        label,
        name,
        ...(score !== undefined && { score }),
        polygons: mask.toPolygons(options.tolerance ?? 0),
      });
    }
    return jsonBytes({
      format: 'wordmask-polygons/1',
      width,
      height,
      segments,
      legend,
      ...(provenance && { wordmask: provenance }),
    });
  },
  async read(input, options = {}) {
    const root = parseJson(fileBytes(input, '.json', 'polygons'), 'polygons');
    if (!isObject(root)) throw new WordmaskError('E_USAGE', `a polygons file is a JSON object, got ${show(root)}`);
    const width = integerField(root, 'width', 'polygons', 1);
    const height = integerField(root, 'height', 'polygons', 1);
    const legend = parseLegend(root.legend);
    if (!legend) throw new WordmaskError('E_USAGE', 'a polygons file needs "legend" as a list of { index, name }');
    const slices = new Slices(options.signal);
    const segments: LabelSegment[] = [];
    for (const item of objectList(root, 'segments', 'polygons')) {
      const mask = Mask.fromPolygons(polygonsOf(item.polygons), width, height);
      const id = integerField(item, 'id', 'polygons segment', 1);
      segments.push(readSegment(id, integerField(item, 'label', 'polygons segment'), mask, item.score));
      if (slices.due) await slices.pause();
    }
    return finishSegments(segments, legend, { width, height, provenance: provenanceOf(root), signal: options.signal });
  },
};

/** Untrusted rings, checked: lists of at least three x y pairs of finite numbers. */
export function polygonsOf(value: unknown): Polygon[] {
  const ring = (points: unknown): number[] => {
    if (
      !Array.isArray(points) ||
      points.length < 6 ||
      points.length % 2 !== 0 ||
      !points.every((part) => typeof part === 'number' && Math.abs(part) < 1e6)
    ) {
      throw new WordmaskError('E_USAGE', `a ring is a list of at least 3 x y pairs of pixels, got ${show(points)}`);
    }
    return points as number[];
  };
  if (!Array.isArray(value))
    throw new WordmaskError('E_USAGE', `"polygons" must be a list of { outer, holes }, got ${show(value)}`);
  return value.map((polygon: unknown) => {
    if (!isObject(polygon) || !Array.isArray(polygon.holes))
      throw new WordmaskError('E_USAGE', `a polygon is { outer, holes }, got ${show(polygon)}`);
    return { outer: ring(polygon.outer), holes: polygon.holes.map(ring) };
  });
}
