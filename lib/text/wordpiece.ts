/** BERT's word pieces: the longest entry that begins the word, then the longest "##" entry that goes on, and so forth. */
const maxWord = 100; // BERT takes longer words for unknown, which also bounds the search

export class WordPiece {
  constructor(
    private readonly vocabulary: ReadonlyMap<string, number>,
    private readonly unknownId: number,
  ) {}

  encodeWord(word: string): number[] {
    const characters = [...word];
    if (characters.length > maxWord) return [this.unknownId];
    const ids: number[] = [];
    for (let start = 0; start < characters.length; ) {
      let end = characters.length;
      let id: number | undefined;
      for (; end > start; end--) {
        const piece = characters.slice(start, end).join('');
        id = this.vocabulary.get(start > 0 ? `##${piece}` : piece);
        if (id !== undefined) break;
      }
      if (id === undefined) return [this.unknownId];
      ids.push(id);
      start = end;
    }
    return ids;
  }
}
