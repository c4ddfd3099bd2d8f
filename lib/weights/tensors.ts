/** From the tensors of files to tensors of the engine: mapped, split, transposed and widened as a key plan says. */
import { cast, type MappedFile, mapFile, scope, Tensor } from '../engine/index.js';
import { weightsError } from './header-scanner.js';
import type { KeyPlan } from './keymap.js';
import { engineDtype } from './safetensors.js';
import type { WeightSet } from './weight-set.js';

/**
 * One tensor a plan entry. f32 tensors that need no change are views of the mapped file, read on first use; f16 and bf16
 * become f32, since parameters are f32 whatever the file holds; integer tensors keep their type.
 * @throws E_WEIGHTS when a file changed since its header was read, E_DISK
 */
export async function loadTensors(set: WeightSet, plans: ReadonlyMap<string, KeyPlan>): Promise<Map<string, Tensor>> {
  const maps = new Map<string, MappedFile>();
  const loaded = new Map<string, Tensor>();
  for (const [name, plan] of plans) {
    const located = set.tensors.get(plan.source);
    if (!located) throw weightsError(set.path, `holds no tensor '${plan.source}'`, { tensor: plan.source });
    const { file, entry } = located;
    if (entry.dtype === 'I64' || !file.inPlace(plan.source)) {
      const { data, dtype, shape } = await file.readArray(plan.source);
      loaded.set(
        name,
        scope(() => arrange(Tensor.from(data, shape, dtype), plan)),
      );
      continue;
    }
    const mapped = maps.get(file.path) ?? mapFile(file.path);
    maps.set(file.path, mapped);
    if (mapped.bytes !== file.fileBytes)
      throw weightsError(file.path, `changed from ${file.fileBytes} to ${mapped.bytes} bytes while it was read`);
    loaded.set(
      name,
      scope(() => arrange(mapped.tensor(file.dataOffset + entry.begin, engineDtype(entry.dtype), entry.shape), plan)),
    );
  }
  return loaded;
}

function arrange(stored: Tensor, plan: KeyPlan): Tensor {
  let tensor = stored;
  if (plan.parts > 1) {
    const rows = (tensor.shape[0] as number) / plan.parts;
    tensor = tensor.slice(0, plan.part * rows, (plan.part + 1) * rows);
  }
  if (plan.transpose) tensor = tensor.permute(1, 0).contiguous();
  if (tensor.dtype === 'f16' || tensor.dtype === 'bf16') tensor = cast(tensor, 'f32');
  return tensor.reshape(plan.shape);
}
