/**
 * What pictures ask the matching model, in groups: passes of several pictures with captions of one length run together, whichever pass
 * each is at. No kernel chooses anything by the number of rows, so a picture gets the same bits in any company.
 */
import { type Cancellation, cancellation, concat, isolated, scope, Tensor } from '../../engine/index.js';
import type { CrossAttentionPlace, MatchingModel } from '../../nn/matching.js';
import { onAbort } from '../../util/on-abort.js';

export interface Question {
  /** Normalised, [3, S, S]. */
  readonly pixels: Float32Array;
  readonly size: number;
  readonly captions: readonly (readonly number[])[];
  readonly place: CrossAttentionPlace;
  readonly signal?: AbortSignal;
}

/** [C, 1, T, 1+P] each, of C captions and the longest of them; logits [C, 2]. */
export interface Answer {
  readonly probabilities: Float32Array;
  readonly gradient: Float32Array;
  readonly logits: Float32Array;
  /** T and 1+P. */
  readonly shape: readonly [number, number];
}

interface Waiting extends Question {
  readonly key: string;
  settle(answer: Answer | undefined, failure?: unknown): void;
}

interface Group {
  readonly members: readonly Waiting[];
  readonly work: Cancellation;
}

export class MatchQueue {
  readonly #waiting: Waiting[] = [];
  #running: Group | undefined;
  #pumping = false;

  /** @param most pictures of a group; 1: every question runs by itself, in its own call */
  constructor(
    private readonly model: MatchingModel,
    private readonly most: number,
  ) {}

  /** @throws the signal's reason; what the model throws */
  async ask(question: Question): Promise<Answer> {
    if (this.most === 1 || question.captions.length !== 1)
      return ask(this.model, [question]).then(([only]) => only as Answer);
    const { signal } = question;
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const stopListening = signal && onAbort(signal, () => this.#aborted(waiting, signal.reason));
      const { size, captions, place } = question;
      const waiting: Waiting = {
        ...question,
        key: JSON.stringify([size, captions[0]?.length, place]),
        settle: (answer, failure) => {
          stopListening?.();
          if (answer) resolve(answer);
          else reject(failure);
        },
      };
      this.#waiting.push(waiting);
      if (!this.#pumping) void isolated(() => this.#pump());
    });
  }

  async #pump(): Promise<void> {
    this.#pumping = true;
    // Pictures that were let in together ask in this turn of the event loop.
    await new Promise<void>((resolve) => setImmediate(resolve));
    for (let first = this.#waiting[0]; first; first = this.#waiting[0]) {
      const { key } = first;
      const members = this.#waiting.filter((other) => other.key === key).slice(0, this.most);
      for (const member of members) this.#waiting.splice(this.#waiting.indexOf(member), 1);
      await this.#run({ members, work: cancellation() });
    }
    this.#pumping = false;
  }

  async #run(group: Group): Promise<void> {
    this.#running = group;
    const { members, work } = group;
    try {
      const answers = await work.run(() => ask(this.model, members));
      members.forEach((member, i) => {
        member.settle(answers[i]);
      });
    } catch (failure) {
      for (const member of members) member.settle(undefined, failure);
    }
    this.#running = undefined;
  }

  /** A group goes on for those who still wait. */
  #aborted(waiting: Waiting, reason: unknown): void {
    const at = this.#waiting.indexOf(waiting);
    if (at >= 0) this.#waiting.splice(at, 1);
    waiting.settle(undefined, reason);
    const { members = [], work } = this.#running ?? {};
    if (members.includes(waiting) && members.every(({ signal }) => signal?.aborted)) work?.cancel();
  }
}

/** One call for questions of one caption each, or for one question of several captions. */
function ask(model: MatchingModel, questions: readonly Question[]): Promise<Answer[]> {
  const { size, place } = questions[0] as Question;
  return scope(async () => {
    const pictures = questions.map(({ pixels }) => Tensor.from(pixels, [1, 3, size, size]));
    const images = pictures.length === 1 ? (pictures[0] as Tensor) : concat(pictures, 0); // [B, 3, S, S]
    const captions = questions.flatMap((question) => question.captions);
    const found =
      captions.length === 1
        ? model.crossAttention(images, captions[0] as readonly number[], place)
        : model.crossAttentions(images, captions, place);
    const [probabilities, gradient, logits] = (await Promise.all([
      found.probabilities.data(),
      found.gradient.data(),
      found.logits.data(),
    ])) as [Float32Array, Float32Array, Float32Array];
    const shape = found.probabilities.shape.slice(-2) as [number, number];
    const step = shape[0] * shape[1];
    let at = 0;
    return questions.map((question) => {
      const [from, to] = [at, at + question.captions.length];
      at = to;
      return {
        probabilities: probabilities.subarray(from * step, to * step),
        gradient: gradient.subarray(from * step, to * step),
        logits: logits.subarray(2 * from, 2 * to),
        shape,
      };
    });
  });
}
