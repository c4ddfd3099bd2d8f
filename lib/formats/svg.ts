/**
 * `svg`: one even-odd path a segment with its label as title, and the legend as JSON in `metadata`. Label text is
 * escaped, and what XML cannot hold is replaced, so no label can add markup.
 */
import { Mask, type Polygon } from '../image/mask.js';
import { paletteFor } from '../image/palette.js';
import { show, WordmaskError } from '../util/errors.js';
import { Slices } from '../util/slices.js';
import { escapeXml, unescapeXml } from '../util/xml.js';
import { checkResult, fileBytes, type LabelFormat, type LabelSegment, parseLegend } from './format.js';
import { integerField, isObject, parseJson, provenanceOf } from './json.js';
import { polygonsOf } from './polygons.js';
import { finishSegments, readSegment, segmentsOf } from './segments.js';

export const svg: LabelFormat = {
  name: 'svg',
  extension: '.svg',
  async write(result, options = {}) {
    checkResult(result);
    const { width, height, legend, provenance } = result;
    const colours = paletteFor(legend.map(({ color }) => color));
    const look = new Map(
      legend.map(({ index, name }, i) => [index, { name, colour: colours[i] as readonly [number, number, number] }]),
    );
    const slices = new Slices(options.signal);
    const paths: string[] = [];
    for (const { id, label, score, mask } of await segmentsOf(result, options.signal)) {
      const { name, colour } = look.get(label) as { name: string; colour: readonly [number, number, number] };
      const data = mask
        .toPolygons(options.tolerance ?? 0)
        .map(pathOf)
        .join('');
      const scoreText = score === undefined ? '' : ` data-score="${score}"`;
      paths.push(
        `<path data-id="${id}" data-label="${label}"${scoreText} fill="rgb(${colour.join(',')})" fill-rule="evenodd" d="${data}"><title>${escapeXml(name)}</title></path>`,
      );
      if (slices.due) await slices.pause();
    }
    const json = JSON.stringify({ width, height, legend, ...(provenance && { wordmask: provenance }) });
    // JSON can escape what XML cannot hold, so names come back exactly.
    const metadata = escapeXml(
      json.replace(/[\ufffe\uffff]/g, (character) => `\\u${character.charCodeAt(0).toString(16)}`),
    );
    const head = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`;
    return new Uint8Array(
      Buffer.from(`${head}\n<metadata>${metadata}</metadata>\n${paths.join('\n')}\n</svg>\n`, 'utf8'),
    );
  },
  async read(input, options = {}) {
    const bytes = fileBytes(input, '.svg', 'svg');
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
    const metadata = /<metadata>([^<]*)<\/metadata>/.exec(text)?.[1];
    const root = metadata === undefined ? undefined : parseJson(Buffer.from(unescapeXml(metadata)), 'svg');
    const legend = isObject(root) ? parseLegend(root.legend) : undefined;
    if (!isObject(root) || !legend)
      throw new WordmaskError(
        'E_USAGE',
        'this SVG carries no label metadata: only files written by this package can be read',
      );
    const [width, height] = [integerField(root, 'width', 'svg', 1), integerField(root, 'height', 'svg', 1)];
    const slices = new Slices(options.signal);
    const segments: LabelSegment[] = [];
    for (const [, id, label, score, data] of text.matchAll(
      /<path data-id="(\d{1,15})" data-label="(\d{1,15})"(?: data-score="([^"<]{1,40})")? [^<>]*? d="([^"<]*)">/g,
    )) {
      const mask = Mask.fromPolygons(ringsOf(data as string), width, height);
      segments.push(readSegment(Number(id), Number(label), mask, score === undefined ? undefined : Number(score)));
      if (slices.due) await slices.pause();
    }
    return finishSegments(segments, legend, { width, height, provenance: provenanceOf(root), signal: options.signal });
  },
};

function pathOf({ outer, holes }: Polygon): string {
  return [outer, ...holes]
    .map((ring) => {
      const points = Array.from({ length: ring.length / 2 }, (_, i) => `${ring[2 * i]} ${ring[2 * i + 1]}`);
      return `M${points.join('L')}Z`;
    })
    .join('');
}

/** Our own path data: rings of absolute points; even-odd filling needs no pairing of holes. */
function ringsOf(data: string): Polygon[] {
  if (!/^(?:M[-0-9.eL ]+Z)*$/.test(data))
    throw new WordmaskError('E_USAGE', `path data must be closed rings of M and L, got ${show(data)}`);
  const rings = data
    .split('Z')
    .slice(0, -1)
    .map((ring) => ring.slice(1).split(/[L ]/).map(Number));
  return polygonsOf(rings.map((outer) => ({ outer, holes: [] })));
}
