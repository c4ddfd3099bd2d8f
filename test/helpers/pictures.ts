/** Pictures made in place: smooth enough for regions, busy enough for every label to win somewhere. */
import type { RawImage } from '#lib/image/decode.js';
import type { Segmentation } from '#lib/pipelines/segmentation.js';

/** RGB waves of a seed. */
export function waves(width: number, height: number, seed = 1): RawImage {
  const data = new Uint8Array(width * height * 3);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++)
        data[i++] = 127 + 127 * Math.sin((x * (seed + c)) / 9 + (y * (3 - c + seed)) / 13 + ((x * y) % 17) / 5);
    }
  }
  return { data, width, height, channels: 3 };
}

/** Every plane of a result as bytes, by name. */
export function bytesOf(result: Segmentation): Record<string, Buffer> {
  const bytes: Record<string, Buffer> = {};
  const put = (name: string, data: ArrayBufferView | undefined) => {
    if (data) bytes[name] = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  };
  put('labels', result.labels);
  for (const name of ['score', 'margin', 'entropy', 'topk', 'topkScores', 'probabilities'] as const)
    put(name, result[name]?.data as ArrayBufferView | undefined);
  return bytes;
}

/** Names of the planes that differ. */
export function differences(a: Segmentation, b: Segmentation): string[] {
  const [left, right] = [bytesOf(a), bytesOf(b)];
  return [...new Set([...Object.keys(left), ...Object.keys(right)])].filter(
    (name) => !left[name] || !right[name] || !left[name].equals(right[name]),
  );
}

/** Words that are all different. */
export function words(count: number): string[] {
  const colours = ['red', 'green', 'blue', 'grey', 'pale', 'dark', 'wet', 'dry', 'old', 'new'];
  const things = ['cat', 'dog', 'tree', 'road', 'sky', 'sea', 'wall', 'car', 'hand', 'hat', 'cup', 'door'];
  return Array.from(
    { length: count },
    (_, i) => `${colours[i % 10]} ${things[Math.floor(i / 10) % 12]}${i >= 120 ? ` ${Math.floor(i / 120)}` : ''}`,
  );
}

/** Share of pixels with one label in both. */
export function agreement(a: { labels: ArrayLike<number> }, b: { labels: ArrayLike<number> }): number {
  let same = 0;
  for (let i = 0; i < a.labels.length; i++) if (a.labels[i] === b.labels[i]) same++;
  return same / a.labels.length;
}
