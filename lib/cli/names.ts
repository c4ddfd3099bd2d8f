/** Output names: derived from the input's path, never twice the same, never an input. */
import { basename, extname, join, resolve } from 'node:path';
import { labelFormat } from '../formats/index.js';
import { WordmaskError } from '../util/errors.js';
import { sha256 } from '../util/files.js';
import type { InputImage } from './inputs.js';

export interface OutputName {
  readonly format: string;
  /** Path below the output folder, without the format's extension. */
  readonly stem: string;
  readonly extension: string;
}

export interface Job {
  readonly input: InputImage;
  /** Place in the whole list of images, from 0, whatever the shard. */
  readonly index: number;
  readonly name: string;
  readonly outputs: readonly OutputName[];
}

/**
 * The first format takes the plain name (`photo.png`); the others, and every overlay, carry theirs (`photo.coco.json`), unless
 * the extension says it already (`photo.npy`).
 */
function outputsOf(name: string, formats: readonly string[]): OutputName[] {
  return formats.map((format, i) => {
    const { extension } = labelFormat(format);
    const plain = format !== 'overlay' && (i === 0 || extension === `.${format}`);
    return { format, stem: plain ? name : `${name}.${format}`, extension };
  });
}

/**
 * Jobs with names of their own. Where two images would share one, both keep their extension (`photo.jpg`, `photo.png`); where
 * that does not help either, both get a part of the hash of their path.
 */
export function nameOutputs(images: readonly InputImage[], formats: readonly string[]): Job[] {
  const levels = images.map(() => 0);
  for (;;) {
    const jobs = images.map((input, index) => {
      const name = nameAt(input, levels[index] as number);
      return { input, index, name, outputs: outputsOf(name, formats) };
    });
    const owners = new Map<string, number[]>();
    for (const { outputs, index } of jobs)
      for (const key of new Set(outputs.map(({ stem }) => stem.toLowerCase().normalize('NFC'))))
        owners.set(key, [...(owners.get(key) ?? []), index]);
    const clashes = new Set([...owners.values()].filter((list) => list.length > 1).flat());
    const raised = [...clashes].filter((index) => (levels[index] as number) < 2);
    if (raised.length === 0) return jobs;
    for (const index of raised) levels[index] = (levels[index] as number) + 1;
  }
}

function nameAt({ path, name }: InputImage, level: number): string {
  const extension = extname(path);
  const full = name.endsWith(extension) ? name : `${name}${extension}`;
  if (level === 0) return name;
  return level === 1 ? full : `${full}-${sha256(resolve(path)).slice(0, 10)}`;
}

/** @throws E_USAGE when an output would replace an input */
export function protectInputs(jobs: readonly Job[], folder: string): void {
  const inputs = new Set(jobs.map(({ input }) => resolve(input.path)));
  for (const { outputs } of jobs)
    for (const { stem, extension } of outputs) {
      const path = resolve(join(folder, `${stem}${extension}`));
      if (inputs.has(path))
        throw new WordmaskError(
          'E_USAGE',
          `${basename(path)} would replace the image ${path} itself: choose another folder with -o`,
          { details: { path } },
        );
    }
}
