/** Everything that is wrong with a data set, collected, so that one run of the checks tells all of it. */
import { WordmaskError } from '../../util/errors.js';

const mostShown = 20;
const mostKept = 1000;

export class Problems {
  readonly #found: string[] = [];
  #count = 0;

  constructor(private readonly name: string) {}

  add(problem: string): void {
    this.#count++;
    if (this.#found.length < mostKept) this.#found.push(problem);
  }

  /** One problem for many names: the first few of them, and how many. */
  addMany(problem: string, names: readonly string[]): void {
    if (names.length > 0) this.add(`${problem}: ${listed(names)}`);
  }

  /** @throws E_IMAGE_FORMAT with all problems, if there are any */
  throwIfAny(): void {
    if (this.#count === 0) return;
    const shown = this.#found.slice(0, mostShown).map((problem) => `\n  - ${problem}`);
    const rest = this.#count > shown.length ? `\n  and ${this.#count - shown.length} more` : '';
    throw new WordmaskError(
      'E_IMAGE_FORMAT',
      `data set ${this.name} cannot be used, ${this.#count === 1 ? 'one problem' : `${this.#count} problems`}:${shown.join('')}${rest}`,
      { details: { dataset: this.name, problems: [...this.#found], count: this.#count } },
    );
  }
}

/** `a, b, c and 12 more` */
export function listed(names: readonly string[], most = 5): string {
  const rest = names.length - most;
  return rest > 0 ? `${names.slice(0, most).join(', ')} and ${rest} more` : names.join(', ');
}
