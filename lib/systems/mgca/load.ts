/** The decoder's tensors from the weights of a model folder. */
import type { Tensor } from '../../engine/index.js';
import type { TrainedPart } from '../../post/dense-system.js';
import { WordmaskError } from '../../util/errors.js';
import { sha256File } from '../../util/files.js';
import { assertCoverage, checkFinite, coverage, loadTensors, mapKeys, openWeights } from '../../weights/index.js';
import { decoderTensors } from './decoder.js';

/**
 * @throws E_WEIGHTS listing all missing, unexpected and wrong-shaped tensors, or saying that the file is TCL's; E_WEIGHTS_VALUE
 */
export async function openDecoder(
  file: string,
  width: number,
  { checkWeights, signal }: { readonly checkWeights: boolean; readonly signal?: AbortSignal },
): Promise<TrainedPart> {
  const weights = await openWeights(file, { signal });
  let tensors: Map<string, Tensor> | undefined;
  try {
    const entries = [...weights.tensors].map(([name, { entry }]) => [name, entry] as const);
    refuseTcl(
      file,
      entries.map(([name]) => name),
    );
    const plans = mapKeys(file, entries, []);
    assertCoverage(file, coverage(decoderTensors(width), plans));
    tensors = await loadTensors(weights, plans);
    if (checkWeights) await checkFinite(file, tensors);
    const hash = await sha256File(file, { signal });
    return { tensors, hash, bytes: weights.bytes };
  } catch (error) {
    for (const tensor of tensors?.values() ?? []) tensor.dispose();
    throw error;
  } finally {
    await weights.close();
  }
}

/** TCL's decoder has the same kind of blocks in another place: four convolutions of 768 channels in front of the projection. */
function refuseTcl(file: string, names: readonly string[]): void {
  const found = names.find((name) => /(^|\.)decoder\.net\.\d+\.conv2?\.|^masker\./.test(name));
  if (found === undefined) return;
  throw new WordmaskError(
    'E_WEIGHTS',
    `${file}: tensor '${found}' is TCL's, whose decoder works before the projection and enlarges by 4; MGCA's works behind it and enlarges by 2: train one with wordmask train`,
    { details: { file, tensor: found } },
  );
}
