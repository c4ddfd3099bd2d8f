/** Parameter groups by path pattern. */
import { pathRule, type Tensor } from '../../engine/index.js';
import { WordmaskError } from '../../util/errors.js';

export interface ParameterGroup {
  /** Patterns as `freeze` takes them: `['**.bias']`, `['**', '!head.**']`. */
  readonly match: readonly string[];
  /** Takes only tensors of these numbers of axes: `[0, 1]` leaves weight matrices out. */
  readonly ranks?: readonly number[];
  /** Default: the optimiser's. */
  readonly lr?: number;
  /** Default: the optimiser's. */
  readonly decay?: number;
}

export type Entry = readonly [path: string, parameter: Tensor];

export interface GroupMembers {
  /** Undefined for what no group took. */
  readonly group: ParameterGroup | undefined;
  readonly members: readonly Entry[];
}

/** Parameters that need gradients; one that has two names comes once, under the first. */
export function trainedEntries(parameters: ReadonlyMap<string, Tensor>): Entry[] {
  const seen = new Set<Tensor>();
  return [...parameters].filter(([, tensor]) => {
    if (!tensor.requiresGrad || seen.has(tensor)) return false;
    seen.add(tensor);
    return true;
  });
}

/**
 * Sorts the entries into groups, the first that takes one has it; what none takes comes first. Groups without members are
 * left out.
 * @throws E_OPTION for a pattern that matches nothing
 */
export function splitGroups(
  who: string,
  entries: readonly Entry[],
  groups: readonly ParameterGroup[],
  paths: Iterable<string> = entries.map(([path]) => path),
): GroupMembers[] {
  const known = [...paths];
  const rules = groups.map((group, i) => {
    const rule = pathRule(`${who}: groups[${i}].match`, group.match, known);
    return ([path, tensor]: Entry) => rule(path) === true && (group.ranks?.includes(tensor.rank) ?? true);
  });
  const owner = (entry: Entry) => rules.findIndex((takes) => takes(entry));
  const members = new Map<number, Entry[]>([[-1, []], ...groups.map((_, i): [number, Entry[]] => [i, []])]);
  for (const entry of entries) members.get(owner(entry))?.push(entry);
  return [...members].filter(([, list]) => list.length > 0).map(([i, list]) => ({ group: groups[i], members: list }));
}

/** @throws E_USAGE where nothing needs a gradient */
export function needEntries(who: string, entries: readonly Entry[]): readonly Entry[] {
  if (entries.length === 0)
    throw new WordmaskError(
      'E_USAGE',
      `${who}: none of the parameters requires a gradient: see freeze() and requireGrad()`,
    );
  return entries;
}
