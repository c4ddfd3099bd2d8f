/** Text features of prompts over templates, cached by string: a changed list of labels costs only the changed strings. */
import { l2Normalise, mean, scope, Tensor } from '../engine/index.js';
import { ByteLru } from '../util/byte-lru.js';

export type Averaging = 'normalise-mean-normalise' | 'mean-normalise';

/** Encodes texts to features [T, E], not normalised; pushes a warning for each text that was cut. */
export type TextEncoder = (texts: readonly string[], warnings: string[]) => Tensor;

/** Texts queued between two looks at the event loop and the abort signal. */
const groupTexts = 256;

export class TextFeatures {
  private readonly cache: ByteLru<Float32Array>;

  constructor(
    private readonly encode: TextEncoder,
    readonly embed: number,
    cacheBytes = 64 << 20,
  ) {
    this.cache = new ByteLru<Float32Array>(cacheBytes, (row) => row.byteLength);
  }

  get stats(): { hits: number; misses: number; bytes: number } {
    return this.cache.stats;
  }

  /**
   * Unit rows, one a prompt: each prompt is put into every template, and the features are averaged by the rule
   * (evaluation.md section 3).
   */
  async rows(
    prompts: readonly string[],
    templates: readonly string[],
    averaging: Averaging,
    options: {
      warnings?: string[];
      known?: ReadonlyMap<string, Float32Array>;
      onProgress?: (done: number, total: number) => void;
    } = {},
  ): Promise<Float32Array[]> {
    const prefix = `${averaging}\n${templates.join('\n')}\n`;
    const found = new Map<string, Float32Array>();
    const missing: string[] = [];
    for (const prompt of new Set(prompts)) {
      const row = options.known?.get(prompt) ?? this.cache.get(prefix + prompt);
      if (row) found.set(prompt, row);
      else missing.push(prompt);
    }
    const perGroup = Math.max(1, Math.floor(groupTexts / templates.length));
    for (let begin = 0; begin < missing.length; begin += perGroup) {
      const group = missing.slice(begin, begin + perGroup);
      const values = await this.encodeGroup(group, templates, averaging, options.warnings ?? []);
      group.forEach((prompt, i) => {
        const row = values.slice(i * this.embed, (i + 1) * this.embed);
        found.set(prompt, row);
        this.cache.set(prefix + prompt, row);
      });
      options.onProgress?.(Math.min(begin + perGroup, missing.length), missing.length);
    }
    return prompts.map((prompt) => found.get(prompt) as Float32Array);
  }

  private async encodeGroup(
    prompts: readonly string[],
    templates: readonly string[],
    averaging: Averaging,
    warnings: string[],
  ): Promise<Float32Array> {
    // Function replacement: `$` in a user's text must stay what it is.
    const texts = prompts.flatMap((prompt) => templates.map((template) => template.replace('{}', () => prompt)));
    return scope(async () => {
      const features = this.encode(texts, warnings); // [S * T, E]
      const single = averaging === 'normalise-mean-normalise' ? l2Normalise(features) : features;
      const rows = l2Normalise(mean(single.reshape(prompts.length, templates.length, this.embed), 1)); // [S, E]
      return (await rows.data()) as Float32Array;
    });
  }
}

/** Rows joined to a device tensor [S, E]. */
export function toTensor(rows: readonly Float32Array[], embed: number): Tensor {
  const joined = new Float32Array(rows.length * embed);
  rows.forEach((row, i) => {
    joined.set(row, i * embed);
  });
  return Tensor.lend(joined, [rows.length, embed], 'f32');
}

/** Mean of unit rows per label, unit again: the `mean` ensemble. A label's only row stays as it is. */
export function meanRows(
  rows: readonly Float32Array[],
  labelOf: ArrayLike<number>,
  labels: number,
  embed: number,
): Float32Array[] {
  const members = Array.from({ length: labels }, (): Float32Array[] => []);
  rows.forEach((row, i) => members[labelOf[i] as number]?.push(row));
  return members.map((own) => {
    if (own.length === 1) return own[0] as Float32Array;
    const sum = new Float64Array(embed);
    for (const row of own) for (let e = 0; e < embed; e++) sum[e] = (sum[e] as number) + (row[e] as number);
    const norm = Math.sqrt(sum.reduce((total, x) => total + x * x, 0)) || 1;
    return Float32Array.from(sum, (x) => x / norm);
  });
}
