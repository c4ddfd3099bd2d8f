/**
 * The windows of all pictures that wait for one encoder, in groups (architecture.md section 3, step 4): small pictures share a
 * group, a large one fills many. Windows do not see each other and no kernel chooses anything by the number of rows, so a
 * picture's features have the same bits in any company.
 */
import {
  adopt,
  type Cancellation,
  cancellation,
  concat,
  copy,
  isolated,
  scope,
  sync,
  type Tensor,
} from '../engine/index.js';
import { onAbort } from '../util/on-abort.js';
import {
  type DenseEncoder,
  type DenseFeatures,
  encodeGroup,
  type WindowFeatures,
  type WindowGeometry,
} from './dense-encode.js';
import type { DenseOptions } from './dense-options.js';

/** One picture for the encoder. */
export interface WindowRequest {
  /** u8 [h', w', 3], known to hold its values: a failure in it would be that of the whole group. */
  readonly canvas: Tensor;
  readonly plan: WindowGeometry;
  readonly options: DenseOptions;
  /** Most windows of a group. */
  readonly groupSize: number;
  /** Higher goes first (default 0), equals in the order of their calls; a group that runs is not interrupted. */
  readonly priority?: number;
  readonly signal?: AbortSignal;
}

/** A picture on its way. */
interface Job extends WindowRequest {
  /** Jobs of one key may share a group. */
  readonly key: string;
  readonly windows: number;
  /** Windows that groups have taken. */
  taken: number;
  readonly running: Set<Group>;
  readonly parts: WindowFeatures[];
  failure?: { readonly reason: unknown };
  settle(): void;
}

interface Group {
  readonly members: readonly { readonly job: Job; readonly begin: number; readonly end: number }[];
  readonly work: Cancellation;
}

/** Groups on the device queue at once: the next one is there when one ends. */
const mostQueued = 2;

export class WindowQueue {
  /** Jobs with windows that no group has taken, in the order in which they go. */
  readonly #waiting: Job[] = [];
  #pumping = false;

  constructor(private readonly encoder: DenseEncoder) {}

  /**
   * Features of all windows of a picture. A failure of a kernel shows when they are read.
   * @throws the signal's reason, once no group works for this picture any more
   */
  encode(request: WindowRequest): Promise<DenseFeatures> {
    return scope(async () => {
      const parts = await this.#submit(request);
      for (const { features, keys } of parts) {
        adopt(features);
        if (keys) adopt(keys);
      }
      const keys = parts.flatMap((part) => part.keys ?? []);
      return {
        ...request.plan,
        features: joined(
          parts.map((part) => part.features),
          parts[0]?.shared,
        ), // [N, P, E]
        ...(keys.length > 0 && { keys: joined(keys, parts[0]?.shared) }), // [N, P, D]
      };
    });
  }

  #submit(request: WindowRequest): Promise<WindowFeatures[]> {
    const { plan, options, groupSize, priority = 0, signal } = request;
    if (signal?.aborted) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      const [y1 = 0, x1 = 0, y2 = 0, x2 = 0] = plan.boxes;
      const stopListening = signal && onAbort(signal, () => this.#aborted(job));
      const job: Job = {
        ...request,
        key: JSON.stringify([y2 - y1, x2 - x1, plan.pad, groupSize, options]),
        windows: plan.boxes.length / 4,
        taken: 0,
        running: new Set(),
        parts: [],
        settle: () => {
          stopListening?.();
          const failure = signal?.aborted ? { reason: signal.reason } : job.failure;
          if (!failure) return resolve(job.parts);
          for (const { features, keys } of job.parts) for (const tensor of [features, keys]) tensor?.dispose();
          reject(failure.reason);
        },
      };
      const behind = this.#waiting.findIndex((other) => (other.priority ?? 0) < priority);
      this.#waiting.splice(behind < 0 ? this.#waiting.length : behind, 0, job);
      if (!this.#pumping) void isolated(() => this.#pump());
    });
  }

  /** Queues groups until nobody waits. A group that is not full waits for the one before it: others may join it meanwhile. */
  async #pump(): Promise<void> {
    this.#pumping = true;
    const queued: Promise<void>[] = [];
    while (this.#waiting.length > 0 || queued.length > 0) {
      const members = queued.length < mostQueued ? this.#next(queued.length > 0) : [];
      if (members.length > 0) queued.push(this.#run({ members, work: cancellation() }));
      else await queued.shift();
    }
    this.#pumping = false;
  }

  /** Takes the windows of the next group: those of the first in the queue and of whom may join them. */
  #next(onlyFull: boolean): Group['members'] {
    const [first] = this.#waiting;
    if (!first) return [];
    const members: { job: Job; begin: number; end: number }[] = [];
    let room = first.groupSize;
    for (const job of this.#waiting) {
      if (room === 0) break;
      if (job.key !== first.key) continue;
      const end = Math.min(job.windows, job.taken + room);
      members.push({ job, begin: job.taken, end });
      room -= end - job.taken;
    }
    if (onlyFull && room > 0) return [];
    for (const { job, end } of members) {
      job.taken = end;
      if (end === job.windows) this.#leave(job);
    }
    return members;
  }

  async #run(group: Group): Promise<void> {
    const { members, work } = group;
    for (const { job } of members) job.running.add(group);
    try {
      const slices = members.map(({ job: { canvas, plan }, begin, end }) => ({ canvas, plan, begin, end }));
      const { options } = (members[0] as Group['members'][number]).job;
      const parts = work.run(() => encodeGroup(this.encoder, slices, options));
      members.forEach(({ job }, i) => {
        job.parts.push(parts[i] as WindowFeatures);
      });
      await sync();
    } catch (reason) {
      for (const { job } of members) {
        job.failure ??= { reason };
        this.#leave(job);
      }
    }
    for (const { job } of members) {
      job.running.delete(group);
      const over = job.taken === job.windows || job.failure || job.signal?.aborted;
      if (over && job.running.size === 0) job.settle();
    }
  }

  #leave(job: Job): void {
    const at = this.#waiting.indexOf(job);
    if (at >= 0) this.#waiting.splice(at, 1);
  }

  /** Whoever is in a group stays till its end; a group whose members all gave up is skipped. */
  #aborted(job: Job): void {
    this.#leave(job);
    if (job.running.size === 0) job.settle();
    for (const { members, work } of job.running)
      if (members.every((member) => member.job.signal?.aborted)) work.cancel();
  }
}

/** One tensor of all parts; never a view of a group that others share, which would keep their bytes too. */
function joined(parts: readonly Tensor[], shared = false): Tensor {
  const [only] = parts as [Tensor];
  if (parts.length > 1) return concat(parts, 0);
  return shared ? copy(only) : only;
}
