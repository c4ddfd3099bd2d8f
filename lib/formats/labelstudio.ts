/**
 * `labelstudio`: a task list with one prediction; regions are brush run lengths, or polygons in percent when a
 * tolerance is given (Label Studio's polygons have no holes: reading them back is exact for brushes only).
 */
import { Mask } from '../image/mask.js';
import { show, WordmaskError } from '../util/errors.js';
import { Slices } from '../util/slices.js';
import { decodeBrush, encodeBrush } from './brush.js';
import { fileBytes, type LabelFormat, type LabelSegment, type LegendEntry, parseLegend } from './format.js';
import { integerField, isObject, type JsonObject, jsonBytes, objectList, parseJson, provenanceOf } from './json.js';
import { finishSegments, namedSegments, readSegment } from './segments.js';

export const labelstudio: LabelFormat = {
  name: 'labelstudio',
  extension: '.json',
  async write(result, options = {}) {
    const { width, height, legend, provenance } = result;
    const regions: JsonObject[] = [];
    for await (const { id, label, name, score, mask } of namedSegments(result, options.signal)) {
      const common = {
        from_name: 'label',
        to_name: 'image',
        original_width: width,
        original_height: height,
        image_rotation: 0,
        meta: { label },
        ...(score !== undefined && { score }),
      };
      if (options.tolerance === undefined) {
        regions.push({
          id: `${id}`,
          type: 'brushlabels',
          ...common,
          value: { format: 'rle', rle: encodeBrush(mask), brushlabels: [name] },
        });
      } else {
        mask.toPolygons(options.tolerance).forEach(({ outer }, part) => {
          const points = Array.from({ length: outer.length / 2 }, (_, i) => [
            ((outer[2 * i] as number) * 100) / width,
            ((outer[2 * i + 1] as number) * 100) / height,
          ]);
          regions.push({
            id: `${id}-${part}`,
            type: 'polygonlabels',
            ...common,
            value: { points, polygonlabels: [name], closed: true },
          });
        });
      }
    }
    const version = provenance && typeof provenance.system === 'string' ? provenance.system : 'wordmask';
    const data = { image: options.imageFile ?? '' };
    return jsonBytes([
      {
        data,
        predictions: [{ model_version: version, result: regions }],
        width,
        height,
        legend,
        ...(provenance && { wordmask: provenance }),
      },
    ]);
  },
  async read(input, options = {}) {
    const tasks = parseJson(fileBytes(input, '.json', 'labelstudio'), 'labelstudio');
    const task: unknown = Array.isArray(tasks) ? tasks[0] : tasks;
    if (!isObject(task))
      throw new WordmaskError('E_USAGE', `a labelstudio file is a list of tasks, got ${show(tasks)}`);
    const [prediction] = objectList(
      task,
      Array.isArray(task.predictions) ? 'predictions' : 'annotations',
      'labelstudio task',
    );
    const regions = prediction ? objectList(prediction, 'result', 'labelstudio prediction') : [];
    const width =
      options.width ??
      integerField(
        task.width === undefined ? (regions[0] ?? {}) : task,
        task.width === undefined ? 'original_width' : 'width',
        'labelstudio',
        1,
      );
    const height =
      options.height ??
      integerField(
        task.height === undefined ? (regions[0] ?? {}) : task,
        task.height === undefined ? 'original_height' : 'height',
        'labelstudio',
        1,
      );
    const fixed = options.legend ?? parseLegend(task.legend);
    const legend: LegendEntry[] = [...(fixed ?? [])];
    const parts = new Map<string, LabelSegment>();
    const slices = new Slices(options.signal);
    for (const region of regions) {
      const { mask, name } = readRegion(region, width, height);
      const key = String(region.id ?? parts.size + 1).replace(/-\d+$/, '');
      const label = labelOf(name, isObject(region.meta) ? region.meta.label : undefined, legend, fixed !== undefined);
      const before = parts.get(key);
      const whole = before ? before.mask.or(mask) : mask;
      const id = /^[1-9]\d{0,14}$/.test(key) ? Number(key) : parts.size + 1;
      parts.set(key, readSegment(id, label, whole, region.score));
      if (slices.due) await slices.pause();
    }
    return finishSegments([...parts.values()], legend, {
      width,
      height,
      provenance: provenanceOf(task),
      signal: options.signal,
    });
  },
};

/** The index that our own files carry, else by name; without a legend names are numbered as they come. */
function labelOf(name: string, stored: unknown, legend: LegendEntry[], fixed: boolean): number {
  const found =
    legend.find((entry) => entry.name === name && entry.index === stored) ??
    legend.find((entry) => entry.name === name);
  if (found) return found.index;
  if (fixed) throw new WordmaskError('E_USAGE', `labelstudio label ${show(name)} is not in the legend`);
  legend.push({ index: legend.length, name });
  return legend.length - 1;
}

function readRegion({ value }: JsonObject, width: number, height: number): { mask: Mask; name: string } {
  if (!isObject(value)) throw new WordmaskError('E_USAGE', `a labelstudio region needs a value, got ${show(value)}`);
  const names = value.brushlabels ?? value.polygonlabels;
  const name: unknown = Array.isArray(names) ? names[0] : undefined;
  if (typeof name !== 'string')
    throw new WordmaskError('E_USAGE', `a labelstudio region needs brushlabels or polygonlabels, got ${show(names)}`);
  if (Array.isArray(value.rle)) return { name, mask: decodeBrush(value.rle as number[], width, height) };
  const points: unknown = value.points;
  if (
    !Array.isArray(points) ||
    points.length < 3 ||
    !points.every((point) => Array.isArray(point) && point.length === 2 && point.every(Number.isFinite))
  ) {
    throw new WordmaskError('E_USAGE', `a labelstudio region needs rle or at least 3 points, got ${show(points)}`);
  }
  const outer = (points as [number, number][]).flatMap(([x, y]) => [(x * width) / 100, (y * height) / 100]);
  return { name, mask: Mask.fromPolygons([{ outer, holes: [] }], width, height) };
}
