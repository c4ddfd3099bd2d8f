/** Miniature data set trees, written into a temporary folder. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { crc32, deflateSync } from 'node:zlib';
import sharp from 'sharp';
import type { Test } from 'tap';
import { vocPalette } from '#lib/image/palette.js';
import { writePng } from '#lib/image/png.js';
import { writeTiff } from '#lib/image/tiff-writer.js';

export const [width, height] = [4, 3];

/** A 4 x 3 map that begins with these values and goes on with 0. */
export function map(...values: number[]): Uint8Array {
  const data = new Uint8Array(width * height);
  data.set(values);
  return data;
}

export class Tree {
  private constructor(readonly root: string) {}

  static async make(t: Test): Promise<Tree> {
    const root = await mkdtemp(join(tmpdir(), 'wordmask-sets-'));
    t.teardown(() => rm(root, { recursive: true, force: true }));
    return new Tree(root);
  }

  path(name: string): string {
    return join(this.root, ...name.split('/'));
  }

  async write(name: string, bytes: Uint8Array | string): Promise<string> {
    const path = this.path(name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, bytes);
    return path;
  }

  /** A grey picture, JPEG or PNG by its name. */
  async picture(name: string, size = { width, height }, orientation?: number): Promise<string> {
    const blank = sharp({ create: { ...size, channels: 3, background: { r: 90, g: 120, b: 60 } } });
    const turned = orientation === undefined ? blank : blank.withMetadata({ orientation });
    return this.write(name, await (name.endsWith('.png') ? turned.png() : turned.jpeg()).toBuffer());
  }

  async label(
    name: string,
    data: Uint8Array | Uint16Array,
    look: 'grey' | 'voc' | 'tif' | 'rgb' | { palette: Uint8Array } = 'grey',
    size = { width, height },
  ): Promise<string> {
    if (look === 'tif') return this.write(name, await writeTiff({ ...size, data }));
    if (look === 'grey' || look === 'rgb') return this.write(name, await writePng({ ...size, data, kind: look }));
    const palette = look === 'voc' ? vocPalette() : look.palette;
    return this.write(name, await writePng({ ...size, data, kind: 'palette', palette }));
  }

  /** Pictures and labels of one split: `stems` with the same map each. */
  async pairs(
    stems: readonly string[],
    image: (stem: string) => string,
    label: (stem: string) => string,
    data: Uint8Array | Uint16Array,
    look: 'grey' | 'voc' | 'tif' = 'grey',
  ): Promise<void> {
    for (const stem of stems) {
      await this.picture(image(stem));
      await this.label(label(stem), data, look);
    }
  }
}

/** A PNG of 1, 2 or 4 bits, which writePng does not make. */
export function packedPng(
  values: readonly number[],
  size: { width: number; height: number },
  bitDepth: 1 | 2 | 4,
  palette?: Uint8Array,
): Uint8Array {
  const rowBytes = Math.ceil((size.width * bitDepth) / 8);
  const rows = new Uint8Array((rowBytes + 1) * size.height);
  for (const [i, value] of values.entries()) {
    const [x, y] = [i % size.width, Math.floor(i / size.width)];
    const at = y * (rowBytes + 1) + 1 + ((x * bitDepth) >> 3);
    rows[at] = (rows[at] as number) | (value << (8 - bitDepth - ((x * bitDepth) & 7)));
  }
  const head = Buffer.alloc(13);
  head.writeUInt32BE(size.width, 0);
  head.writeUInt32BE(size.height, 4);
  head.set([bitDepth, palette ? 3 : 0, 0, 0, 0], 8);
  const chunks: [string, Uint8Array][] = [['IHDR', head]];
  if (palette) chunks.push(['PLTE', palette]);
  chunks.push(['IDAT', deflateSync(rows)], ['IEND', new Uint8Array(0)]);
  const parts = chunks.map(([type, data]) => {
    const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
    const frame = Buffer.alloc(8);
    frame.writeUInt32BE(data.length, 0);
    frame.writeUInt32BE(crc32(body), 4);
    return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
  });
  return Buffer.concat([Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]), ...parts]);
}

export const values = (plane: { readonly data: ArrayLike<number> }): number[] => Array.from(plane.data);

/** Segment ids as RGB pixels of a 4 x 3 picture, id = R + 256 G + 65536 B. */
export function idsToRgb(ids: readonly number[]): Uint8Array {
  const out = new Uint8Array(3 * width * height);
  for (const [i, id] of ids.entries()) out.set([id & 255, (id >> 8) & 255, id >> 16], 3 * i);
  return out;
}

/** Three pictures of VOC 2012, two of them in the list. */
export async function vocTree(t: Test): Promise<Tree> {
  const tree = await Tree.make(t);
  const base = 'VOCdevkit/VOC2012';
  await tree.pairs(
    ['2007_000002', '2007_000001', '2007_000009'],
    (stem) => `${base}/JPEGImages/${stem}.jpg`,
    (stem) => `${base}/SegmentationClass/${stem}.png`,
    map(0, 1, 20, 255, 15),
    'voc',
  );
  await tree.write(`${base}/ImageSets/Segmentation/val.txt`, '2007_000002\r\n2007_000001\n\n');
  return tree;
}
