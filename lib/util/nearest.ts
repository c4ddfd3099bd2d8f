/** "Did you mean": the candidate closest to a mistyped word. */

/** Levenshtein distance between two short strings, O(|a| |b|). */
export function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(substitution, (previous[j] as number) + 1, (current[j - 1] as number) + 1));
    }
    previous = current;
  }
  return previous[b.length] as number;
}

/** The closest candidate, or undefined when none is nearer than half of the word's length. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  const clipped = word.slice(0, 64);
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.ceil(clipped.length / 2));
  for (const candidate of candidates) {
    const distance = editDistance(clipped.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      bestDistance = distance;
      best = candidate;
    }
  }
  return best;
}
