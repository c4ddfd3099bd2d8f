/** A CLIP folder opened for a dense system: encoder, text side, identity. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Tensor } from '../../engine/index.js';
import { loadTokenizer, type Tokenizer } from '../../text/index.js';
import { WordmaskError } from '../../util/errors.js';
import { guardDisk, readFileLimited, sha256, sha256File } from '../../util/files.js';
import { parseJsonStrict } from '../../util/json.js';
import { openWeights } from '../../weights/index.js';
import { type ClipConfig, parseClipConfig } from './config.js';
import { type DenseVariant, denseClipEncoder } from './dense.js';
import { type LoadClipOptions, loadClip } from './load.js';
import type { ClipModel } from './model.js';
import { probeClip, probeNames } from './probe.js';
import { encodeIds, encodeTexts } from './text.js';

/** Files of a model folder, found and checked by the registry. */
export interface ClipFiles {
  readonly configFile: string;
  readonly config: Record<string, unknown>;
  readonly weights: string;
  /** Folder of the tokenizer's files. */
  readonly tokenizer: string;
}

export interface OpenClipOptions extends Pick<LoadClipOptions, 'compute' | 'differentiable'> {
  readonly checkWeights: boolean;
  readonly signal?: AbortSignal;
}

/** Both towers and the words they know. */
export interface OpenedClip {
  readonly config: ClipConfig;
  readonly model: ClipModel;
  readonly tokenizer: Tokenizer;
  /** SHA-256 over the weights files. */
  readonly hash: string;
  /** Bytes of the weights in their files. */
  readonly bytes: number;
  /** Factor of the cosines, exp(logit_scale); 100, OpenAI's, where the weights do not say. */
  readonly logitScale: number;
}

/** @throws E_MODEL_FORMAT, E_TOKENIZER, E_WEIGHTS, E_WEIGHTS_VALUE */
export async function openDenseClip(files: ClipFiles, options: OpenClipOptions) {
  const { config, model, tokenizer, hash, bytes } = await openClip(files, options);
  return denseClip(config, model, tokenizer, hash, bytes);
}

/** @throws as `openDenseClip` */
export async function openClip(files: ClipFiles, options: OpenClipOptions): Promise<OpenedClip> {
  const config = parseClipConfig(files.configFile, files.config);
  const tokenizer = await loadTokenizer(files.tokenizer, { signal: options.signal });
  if (tokenizer.vocabSize > config.text.vocabulary) {
    throw new WordmaskError(
      'E_TOKENIZER',
      `${files.tokenizer}: the tokenizer has ${tokenizer.vocabSize} ids, the text tower only ${config.text.vocabulary}`,
      { details: { folder: files.tokenizer } },
    );
  }
  const weights = await openWeights(files.weights, { signal: options.signal });
  let model: ClipModel | undefined;
  let hash: string;
  try {
    const digests = Promise.all(weights.files.map((file) => sha256File(file.path, { signal: options.signal })));
    digests.catch(() => undefined);
    model = await loadClip(config, weights, options);
    hash = await digests.then((list) => (list.length === 1 ? (list[0] as string) : sha256(list.join('\n'))));
  } catch (error) {
    model?.dispose();
    throw error;
  } finally {
    await weights.close();
  }
  const [logScale] = (await model.parameters.get('logit_scale')?.data()) ?? [];
  const logitScale = logScale === undefined ? 100 : Math.exp(logScale);
  return { config, model, tokenizer, hash, bytes: weights.bytes, logitScale };
}

/** A folder in Hugging Face's layout, opened the same way. @throws as `openDenseClip` */
export async function openClipFolder(
  folder: string,
  options: Parameters<typeof openDenseClip>[1],
): ReturnType<typeof openDenseClip> {
  const configFile = join(folder, 'config.json');
  const limits = { limit: 16 << 20, signal: options.signal, code: 'E_MODEL_FORMAT' } as const;
  const config = parseJsonStrict(await readFileLimited(configFile, limits), {
    code: 'E_MODEL_FORMAT',
    what: configFile,
  });
  const names = await guardDisk('read', folder, () => readdir(folder));
  const weights = names.includes('model.safetensors') ? 'model.safetensors' : 'model.safetensors.index.json';
  const files = {
    configFile,
    config: config as Record<string, unknown>,
    weights: join(folder, weights),
    tokenizer: folder,
  };
  return openDenseClip(files, options);
}

function denseClip(config: ClipConfig, model: ClipModel, tokenizer: Tokenizer, hash: string, parametersBytes: number) {
  const encoder = denseClipEncoder(model);
  return {
    encoder,
    config,
    tokenizer,
    embed: config.embed,
    /** SHA-256 over the weights files. */
    hash,
    sizes: {
      patch: config.vision.patch,
      image: config.vision.imageSize,
      embed: config.embed,
      parametersBytes,
      width: config.vision.width,
    },
    /** Texts -> features [T, E], not normalised; one warning for each text that was cut. */
    encodeText: (texts: readonly string[], warnings: string[]): Tensor =>
      encodeTexts(model, tokenizer, texts, warnings),
    /** The same from token ids, each row up to its end token. */
    encodeIds: (ids: readonly (readonly number[])[]): Tensor => encodeIds(model, ids),
    probeNames: probeNames as readonly string[],
    probe: (pixels: Tensor, variant: DenseVariant, name: string): Tensor =>
      probeClip(model, pixels, variant, name as (typeof probeNames)[number]),
    dispose: () => {
      encoder.dispose();
      model.dispose();
    },
  };
}
