/** The tensors in a checkpoint's value, by name: the state dictionary where there is one, else everything by its path. */
import { show } from '../../util/errors.js';
import { weightsError } from '../header-scanner.js';
import { Dict, List, type Pickled, TensorRef, Tuple } from './values.js';

/** Where trainers put the weights of the model they save, best first. */
const weightKeys = ['state_dict', 'model', 'model_state_dict', 'module', 'net', 'weights'] as const;

const limits = { visits: 1 << 18, tensors: 200_000, depth: 16 } as const;

/**
 * Tensors by name. Of a dictionary that keeps the weights under one of the usual keys (`state_dict`, `model`, ...) beside an
 * optimiser's state and other things, those alone; else all tensors of the file, lists counted from 0 (`0`, `layers.1.weight`);
 * a file that is one tensor names it `tensor`.
 * @throws E_WEIGHTS when there is none, or more than a checkpoint can hold
 */
export function namedTensors(path: string, root: Pickled): Map<string, TensorRef> {
  const tensors = new Map<string, TensorRef>();
  let visits = 0;
  const walk = (value: Pickled, name: string, depth: number): void => {
    if (++visits > limits.visits || depth > limits.depth)
      throw weightsError(
        path,
        `its values refer to each other more than ${limits.visits} times or ${limits.depth} levels deep: this is no checkpoint`,
        { limit: limits.visits },
      );
    if (value instanceof TensorRef) {
      const full = name === '' ? 'tensor' : name;
      if (tensors.has(full)) throw weightsError(path, `two of its tensors are called ${show(full)}`, { tensor: full });
      if (tensors.size >= limits.tensors)
        throw weightsError(path, `holds more than ${limits.tensors} tensors`, { limit: limits.tensors });
      tensors.set(full, value);
    } else if (value instanceof Dict) {
      for (const [key, part] of value.entries)
        if (typeof key === 'string' || typeof key === 'number') walk(part, joined(name, String(key)), depth + 1);
    } else if (value instanceof List || value instanceof Tuple) {
      value.items.forEach((part, index) => void walk(part, joined(name, String(index)), depth + 1));
    }
  };
  walk(stateDict(root), '', 0);
  if (tensors.size > 0) return tensors;
  throw weightsError(path, 'holds no tensor: it is no checkpoint of weights');
}

function stateDict(root: Pickled): Pickled {
  if (!(root instanceof Dict) || holdsTensors(root)) return root;
  for (const key of weightKeys) {
    const part = root.entries.get(key);
    if (part instanceof Dict && holdsTensors(part)) return part;
  }
  return root;
}

function holdsTensors({ entries }: Dict): boolean {
  for (const value of entries.values()) if (value instanceof TensorRef) return true;
  return false;
}

function joined(prefix: string, name: string): string {
  return prefix === '' ? name : `${prefix}.${name}`;
}
