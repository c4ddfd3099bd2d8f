/** Headers of all pictures and label files, compared before the first is decoded. */
import { probeImage } from '../../image/decode.js';
import { type ImageHeader, readImageHeader } from '../../image/header.js';
import type { LabelReader } from './label-file.js';
import type { Problems } from './problems.js';

export interface Pair {
  readonly id: string;
  readonly image: string;
  /** Label file; undefined where the labels have no file of their own. */
  readonly truth?: string;
  /** Size that a JSON gives the picture. */
  readonly size?: { readonly width: number; readonly height: number };
}

/** Headers read at a time. */
const atOnce = 16;

/**
 * Adds to `problems` what the headers show: sizes that do not agree, label files of the wrong look.
 * @returns files whose header cannot be read: the run meets them in their turn
 */
export async function checkHeaders(
  pairs: readonly Pair[],
  wrongLook: LabelReader['wrongLook'],
  problems: Problems,
  signal?: AbortSignal,
): Promise<string[]> {
  const found: { readonly damaged: string[]; readonly problems: string[] }[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let i = next++; i < pairs.length; i = next++) {
      signal?.throwIfAborted();
      found[i] = await checkPair(pairs[i] as Pair, wrongLook, signal);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  for (const one of found) for (const problem of one.problems) problems.add(problem);
  return found.flatMap(({ damaged }) => damaged);
}

async function checkPair(
  { image, truth, size }: Pair,
  wrongLook: LabelReader['wrongLook'],
  signal?: AbortSignal,
): Promise<{ damaged: string[]; problems: string[] }> {
  const [damaged, problems]: [string[], string[]] = [[], []];
  const [picture, label] = await Promise.all([readImageHeader(image), truth && readImageHeader(truth)]);
  if (truth && !label) damaged.push(truth);
  if (label) {
    const wrong = wrongLook(label);
    if (wrong !== undefined) problems.push(`label ${truth} ${wrong}`);
    else if (size && !agree(size, label))
      problems.push(`label ${truth} is ${sizeOf(label)}, its JSON says ${sizeOf(size)}`);
  }
  const due = label || size;
  // A decoder knows orientation better than this glance at the header; what it cannot read either fails in its turn.
  const upright = picture && due && agree(picture, due) ? picture : await probe(image, signal);
  if (!upright) damaged.push(image);
  else if (due && !agree(upright, due))
    problems.push(
      `${label ? `label ${truth} is ${sizeOf(label)}` : `its JSON says ${sizeOf(due)}`}, picture ${image} is ${sizeOf(upright)} after its orientation`,
    );
  return { damaged, problems };
}

type Size = Pick<ImageHeader, 'width' | 'height'>;
const agree = (a: Size, b: Size): boolean => a.width === b.width && a.height === b.height;
const sizeOf = ({ width, height }: Size): string => `${width} x ${height}`;

async function probe(image: string, signal?: AbortSignal): Promise<Size | undefined> {
  try {
    return await probeImage(image, { signal });
  } catch (cause) {
    if (signal?.aborted) throw cause;
    return undefined;
  }
}
