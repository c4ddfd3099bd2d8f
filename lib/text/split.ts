/**
 * How each tokenizer cuts cleaned text into words before word pieces or byte pairs are looked up. Blanks are Unicode's
 * White_Space as in the published tokenizers; JavaScript's own \s differs (U+0085, U+FEFF).
 */

/** CLIP: contractions, runs of letters, single digits, runs of other characters. Special tokens are not in it on purpose. */
export function splitClip(cleaned: string): string[] {
  return cleaned.match(/'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\p{White_Space}\p{L}\p{N}]+/gu) ?? [];
}

/** GPT-2 and RoBERTa: a word keeps the blank in front of it; nothing is cleaned. */
export function splitGpt2(text: string): string[] {
  return (
    text.match(
      /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu,
    ) ?? []
  );
}

const asciiPunctuation = /[!-/:-@[-`{-~]/u;
const han = /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/u;

/** BERT's basic tokenizer: no control characters, Chinese characters alone, lower case without accents, punctuation alone. */
export function splitBert(text: string, lowerCase: boolean): string[] {
  let clean = '';
  for (const c of text) {
    const blank = c === '\t' || c === '\n' || c === '\r';
    if (!blank && (c === '\ufffd' || /\p{C}/u.test(c))) continue;
    if (blank || /\s/u.test(c)) clean += ' ';
    else clean += han.test(c) ? ` ${c} ` : c;
  }
  // Letter by letter: a sigma at the end of a word stays the common one, as in the published tokenizer.
  if (lowerCase)
    clean = Array.from(clean, (c) => c.toLowerCase())
      .join('')
      .normalize('NFD')
      .replace(/\p{Mn}/gu, '');
  const words: string[] = [];
  for (const word of clean.split(' ')) {
    let run = '';
    for (const c of word) {
      if (asciiPunctuation.test(c) || /\p{P}/u.test(c)) {
        if (run) words.push(run);
        words.push(c);
        run = '';
      } else run += c;
    }
    if (run) words.push(run);
  }
  return words;
}
