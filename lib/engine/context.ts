/**
 * What surrounds a call: the open scope, whether a tape records, the abort token, and the device of new tensors. Travels across `await` through
 * AsyncLocalStorage, so concurrent requests do not see each other's.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { NativeProgram, NativeToken } from '../binding/addon.js';
import { deviceNumber } from './device-table.js';
import type { GradNode } from './grad/node.js';
import type { Tensor } from './tensor.js';

export interface ScopeFrame {
  readonly tensors: Set<Tensor>;
  readonly nodes: Set<GradNode>;
  /** Tensors that outlive the scope without being its result: what they were made from stays on the tape. */
  readonly kept: Set<Tensor>;
  readonly parent: ScopeFrame | undefined;
}

/** A Program that is being recorded (program.ts). */
export interface Recording {
  readonly native: NativeProgram;
  readonly device: number;
  /** Ops are noted. Over once it ended, or met what no replay can repeat: a host read, an op in place. */
  open: boolean;
}

export interface EngineContext {
  readonly scope: ScopeFrame | undefined;
  readonly grad: boolean;
  readonly token: NativeToken | null;
  /** Number of the device on which tensors are made from host arrays and formulas; undefined is the CPU, by nobody's choice. */
  readonly device: number | undefined;
  readonly recording: Recording | undefined;
}

const storage = new AsyncLocalStorage<EngineContext>();
const root: EngineContext = { scope: undefined, grad: true, token: null, device: undefined, recording: undefined };

export function currentContext(): EngineContext {
  return storage.getStore() ?? root;
}

export function runInContext<T>(changes: Partial<EngineContext>, fn: () => T): T {
  return storage.run({ ...currentContext(), ...changes }, fn);
}

/** Runs `fn` in no scope and without recording: what it makes belongs to the objects it returns, not to the caller's scope. */
export function isolated<T>(fn: () => T): T {
  return runInContext({ scope: undefined, grad: false }, fn);
}

/**
 * Runs `fn` so that tensors made in it from host arrays, files and formulas (`Tensor.from`, `fill`, `randomNormal` ...) lie on a
 * device; what is computed from tensors stays where they are. Works with async functions.
 * @param device as `Tensor.device` names it: 'cpu', 'cuda:0'
 * @throws E_DEVICE when it cannot be opened
 */
export function onDevice<T>(device: string, fn: () => T): T {
  return runInContext({ device: deviceNumber(device) }, fn);
}

/** For what a Program cannot repeat: the one that is being recorded will be none. */
export function spoilRecording(): void {
  const { recording } = currentContext();
  if (recording) recording.open = false;
}

/** Runs `fn` without recording: nothing it computes can be differentiated. Works with async functions. */
export function noGrad<T>(fn: () => T): T {
  return runInContext({ grad: false }, fn);
}

/** Runs `fn` with recording, also inside `noGrad`: for a method that differentiates while it answers. */
export function recording<T>(fn: () => T): T {
  return runInContext({ grad: true }, fn);
}
