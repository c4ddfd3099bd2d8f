/**
 * `geojson`: a FeatureCollection with a MultiPolygon a segment, wound as RFC 7946 asks (outer rings counterclockwise
 * in the written coordinates, holes clockwise, first point repeated). Pixel coordinates unless a transform is given.
 */
import { Mask, type Polygon } from '../image/mask.js';
import { show, WordmaskError } from '../util/errors.js';
import { Slices } from '../util/slices.js';
import { fileBytes, type LabelFormat, type LabelSegment, parseLegend } from './format.js';
import { integerField, isObject, type JsonObject, jsonBytes, objectList, parseJson, provenanceOf } from './json.js';
import { polygonsOf } from './polygons.js';
import { finishSegments, namedSegments, readSegment } from './segments.js';

/** [a, b, c, d, e, f]: X = a x + b y + c, Y = d x + e y + f from pixel-edge coordinates. */
export type Transform = readonly [number, number, number, number, number, number];
const identity: Transform = [1, 0, 0, 0, 1, 0];

/**
 * The six lines of a world file (A D B E C F, of which C and F name the centre of the first pixel) as a transform.
 * Throws E_USAGE unless they are six numbers.
 */
export function worldFileTransform(text: string): Transform {
  const lines = text.trim().split(/\s+/).map(Number);
  if (lines.length !== 6) throw new WordmaskError('E_USAGE', `a world file has six numbers, got ${lines.length}`);
  const [a, d, b, e, c, f] = lines as [number, number, number, number, number, number];
  return checkTransform([a, b, c - a / 2 - b / 2, d, e, f - d / 2 - e / 2]);
}

export const geojson: LabelFormat = {
  name: 'geojson',
  extension: '.geojson',
  async write(result, options = {}) {
    const { width, height, legend, provenance } = result;
    const transform = checkTransform(options.transform ?? identity);
    const features: JsonObject[] = [];
    for await (const { id, label, name, score, mask } of namedSegments(result, options.signal)) {
      const coordinates = mask
        .toPolygons(options.tolerance ?? 0)
        .map(({ outer, holes }) => [
          windRing(outer, transform, true),
          ...holes.map((hole) => windRing(hole, transform, false)),
        ]);
      const properties = { id, label, name, area: mask.area, ...(score !== undefined && { score }) };
      features.push({ type: 'Feature', id, properties, geometry: { type: 'MultiPolygon', coordinates } });
    }
    return jsonBytes({
      type: 'FeatureCollection',
      features,
      width,
      height,
      transform,
      legend,
      ...(provenance && { wordmask: provenance }),
    });
  },
  async read(input, options = {}) {
    const root = parseJson(fileBytes(input, 'json', 'geojson'), 'geojson');
    const legend = isObject(root) ? parseLegend(root.legend) : undefined;
    if (!isObject(root) || !legend)
      throw new WordmaskError('E_USAGE', 'a geojson label file needs "features", "width", "height" and "legend"');
    const [width, height] = [integerField(root, 'width', 'geojson', 1), integerField(root, 'height', 'geojson', 1)];
    const back = inverse(checkTransform((root.transform ?? identity) as Transform));
    const slices = new Slices(options.signal);
    const segments: LabelSegment[] = [];
    for (const { properties, geometry } of objectList(root, 'features', 'geojson')) {
      if (!isObject(properties) || !isObject(geometry))
        throw new WordmaskError('E_USAGE', 'a geojson feature needs properties and geometry');
      const mask = Mask.fromPolygons(pixelPolygons(geometry, back), width, height);
      const id = integerField(properties, 'id', 'geojson feature', 1);
      segments.push(readSegment(id, integerField(properties, 'label', 'geojson feature'), mask, properties.score));
      if (slices.due) await slices.pause();
    }
    return finishSegments(segments, legend, { width, height, provenance: provenanceOf(root), signal: options.signal });
  },
};

function checkTransform(transform: Transform): Transform {
  const numbers: unknown = transform;
  if (
    !Array.isArray(numbers) ||
    numbers.length !== 6 ||
    !numbers.every(Number.isFinite) ||
    transform[0] * transform[4] === transform[1] * transform[3]
  ) {
    throw new WordmaskError(
      'E_OPTION',
      `transform must be six finite numbers a b c d e f with a e - b d not 0, got ${show(transform)}`,
      { details: { option: 'transform' } },
    );
  }
  return transform;
}

function windRing(
  ring: readonly number[],
  [a, b, c, d, e, f]: Transform,
  counterclockwise: boolean,
): [number, number][] {
  const points: [number, number][] = [];
  for (let i = 0; i < ring.length; i += 2) {
    const [x, y] = [ring[i] as number, ring[i + 1] as number];
    points.push([a * x + b * y + c, d * x + e * y + f]);
  }
  const twiceArea = points.reduce((sum, [x, y], i) => {
    const [nextX, nextY] = points[(i + 1) % points.length] as [number, number];
    return sum + x * nextY - nextX * y;
  }, 0);
  if (twiceArea > 0 !== counterclockwise) points.reverse();
  return [...points, points[0] as [number, number]];
}

function inverse([a, b, c, d, e, f]: Transform): Transform {
  const det = a * e - b * d;
  return [e / det, -b / det, (b * f - e * c) / det, -d / det, a / det, (d * c - a * f) / det];
}

/** Rings back in pixels; what lies within 1e-6 of a whole number is one, so that exact outlines stay exact. */
function pixelPolygons({ type, coordinates }: JsonObject, [a, b, c, d, e, f]: Transform): Polygon[] {
  const snap = (value: number): number => (Math.abs(value - Math.round(value)) < 1e-6 ? Math.round(value) : value);
  const ring = (points: unknown): number[] => {
    if (!Array.isArray(points))
      throw new WordmaskError('E_USAGE', `a geojson ring is a list of points, got ${show(points)}`);
    return points.slice(0, -1).flatMap((point: unknown) => {
      if (!Array.isArray(point) || !point.slice(0, 2).every(Number.isFinite))
        throw new WordmaskError('E_USAGE', `a geojson point is [x, y], got ${show(point)}`);
      const [x, y] = point as [number, number];
      return [snap(a * x + b * y + c), snap(d * x + e * y + f)];
    });
  };
  const list = type === 'Polygon' ? [coordinates] : type === 'MultiPolygon' ? coordinates : undefined;
  if (!Array.isArray(list) || !list.every(Array.isArray))
    throw new WordmaskError('E_USAGE', `a geojson label feature is a Polygon or MultiPolygon, got ${show(type)}`);
  return polygonsOf(list.map((rings: unknown[]) => ({ outer: ring(rings[0]), holes: rings.slice(1).map(ring) })));
}
