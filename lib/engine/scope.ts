/** Scopes: tensors made inside are freed at the end, except results and those that were kept. */
import { currentContext, runInContext, type ScopeFrame } from './context.js';
import type { GradNode, GradValue } from './grad/node.js';
import { Tensor } from './tensor.js';

/** Method of classes that own tensors, so that a scope which returns one lets them live. */
export const ownedTensors: unique symbol = Symbol('tensors');

/**
 * Runs `fn` and frees every tensor made inside, except those in its result (a tensor, `Grads`, or arrays, plain objects, maps
 * and sets of them) and those passed to `keep`. Works with async functions: the scope then ends when the promise settles.
 */
export function scope<T>(fn: () => T): T {
  const frame: ScopeFrame = { tensors: new Set(), nodes: new Set(), kept: new Set(), parent: currentContext().scope };
  let result: T;
  try {
    result = runInContext({ scope: frame }, fn);
  } catch (error) {
    close(frame, []);
    throw error;
  }
  if (!(result instanceof Promise)) {
    close(frame, tensorsIn(result));
    return result;
  }
  return result.then(
    (value: unknown) => {
      close(frame, tensorsIn(value));
      return value;
    },
    (error: unknown) => {
      close(frame, []);
      throw error;
    },
  ) as T;
}

/** Lets a tensor outlive the scope it was made in: it moves to the enclosing scope, or to nobody's care. */
export function keep<T extends Tensor>(tensor: T): T {
  const frame = currentContext().scope;
  if (frame && tensor.owner === frame) {
    entrust(tensor, frame.parent);
    frame.kept.add(tensor);
  }
  return tensor;
}

/** Another handle on a value, on the tape where the value is, in no scope's care: for values seen inside nested scopes. */
export function retain(tensor: Tensor): Tensor {
  const handle = tensor.detach();
  handle.gradValue = tensor.gradValue;
  handle.owner?.kept.add(handle);
  entrust(handle, undefined);
  return handle;
}

/** Puts a tensor into the care of the current scope. */
export function adopt<T extends Tensor>(tensor: T): T {
  entrust(tensor, currentContext().scope);
  return tensor;
}

/** Moves a tensor into the care of a scope, or of nobody. */
function entrust(tensor: Tensor, frame: ScopeFrame | undefined): void {
  tensor.owner?.tensors.delete(tensor);
  tensor.owner = tensor.disposed ? undefined : frame;
  tensor.owner?.tensors.add(tensor);
}

function close(frame: ScopeFrame, survivors: Tensor[]): void {
  for (const tensor of survivors) {
    if (tensor.owner === frame) entrust(tensor, frame.parent);
  }
  for (const tensor of [...frame.tensors]) tensor.dispose();
  if (frame.nodes.size === 0) return;
  const kept = [...frame.kept].filter((tensor) => tensor.gradValue && !tensor.disposed);
  for (const tensor of kept) frame.parent?.kept.add(tensor);
  const alive = reachable([...survivors, ...kept]);
  for (const node of frame.nodes) {
    if (!alive.has(node)) node.release();
    else frame.parent?.nodes.add(node);
  }
}

function reachable(tensors: Tensor[]): Set<GradNode> {
  const seen = new Set<GradNode>();
  const pending: (GradValue | undefined)[] = tensors.map((tensor) => tensor.gradValue);
  for (let value = pending.pop(); pending.length > 0 || value; value = pending.pop()) {
    const node = value?.node;
    if (!node || seen.has(node)) continue;
    seen.add(node);
    pending.push(...node.sources);
  }
  return seen;
}

function tensorsIn(result: unknown): Tensor[] {
  const found: Tensor[] = [];
  const seen = new Set<object>();
  const pending: unknown[] = [result];
  while (pending.length > 0) {
    const value = pending.pop();
    if (typeof value !== 'object' || value === null || seen.has(value)) continue;
    seen.add(value);
    if (value instanceof Tensor) found.push(value);
    else for (const item of partsOf(value)) pending.push(item);
  }
  return found;
}

function partsOf(value: object): Iterable<unknown> {
  if (Array.isArray(value) || value instanceof Set) return value;
  if (value instanceof Map) return value.values();
  if (ownedTensors in value) return (value as { [ownedTensors](): Iterable<Tensor> })[ownedTensors]();
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null ? Object.values(value) : [];
}
