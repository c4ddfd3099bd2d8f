/** Words without tensors: tokenizers, prompt templates, class lists and the text of a vocabulary. */

export { type BackgroundInput, type BackgroundPolicy, backgroundWords, parseBackground } from './background.js';
export { bpeFiles, type LearnedBpe, learnBpe } from './bpe-learn.js';
export { defaultLimits, type Label, type LabelInput, type VocabularyLimits } from './label.js';
export {
  type ClassEntry,
  classes,
  classList,
  classListNames,
  templateAliases,
  templateSet,
  templateSetNames,
  templates,
} from './lists.js';
export { bpeTokenizer, type LoadOptions, loadTokenizer, wordPieceTokenizer } from './load.js';
export { CaptionTokenizer, type CaptionTokens, captionTokenizer } from './matching.js';
export { type Noun, NounFinder, nounsOf } from './nouns.js';
export { type EncodedBatch, type EncodeOptions, Tokenizer, type TokenizerKind, textLimit } from './tokenizer.js';
export {
  type Ensemble,
  fillTemplate,
  type TemplateChoice,
  type VocabularyFile,
  type VocabularyOptions,
  VocabularySpec,
  vocabularyFormat,
} from './vocabulary.js';
export { learnWordPieces, wordPieceFiles } from './wordpiece-learn.js';
