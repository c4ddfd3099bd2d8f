/** Least-recently-used cache with a cap on bytes. */
export class ByteLru<V> {
  private readonly entries = new Map<string, V>();
  private bytes = 0;
  private hits = 0;
  private misses = 0;

  constructor(
    readonly limit: number,
    private readonly sizeOf: (value: V) => number,
    private readonly onEvict: (value: V) => void = () => {},
  ) {}

  get stats(): { hits: number; misses: number; bytes: number } {
    return { hits: this.hits, misses: this.misses, bytes: this.bytes };
  }

  get(key: string): V | undefined {
    const value = this.entries.get(key);
    if (value === undefined) {
      this.misses++;
      return undefined;
    }
    this.hits++;
    // Reinsertion moves the key to the young end of the map's order.
    this.entries.delete(key);
    this.entries.set(key, value);
    return value;
  }

  set(key: string, value: V): void {
    const before = this.entries.get(key);
    if (before !== undefined) this.remove(key, before);
    this.entries.set(key, value);
    this.bytes += this.sizeOf(value);
    for (const [oldKey, old] of this.entries) {
      if (this.bytes <= this.limit || oldKey === key) break;
      this.remove(oldKey, old);
    }
  }

  clear(): void {
    for (const [key, value] of this.entries) this.remove(key, value);
  }

  private remove(key: string, value: V): void {
    this.entries.delete(key);
    this.bytes -= this.sizeOf(value);
    this.onEvict(value);
  }
}
