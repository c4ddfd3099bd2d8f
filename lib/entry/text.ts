/** `wordmask/text`: tokenizers, prompt templates and class lists; no model needed. */
export {
  type ClassEntry,
  classes,
  classList,
  classListNames,
  type EncodedBatch,
  type EncodeOptions,
  loadTokenizer,
  Tokenizer,
  type TokenizerKind,
  templateSet,
  templateSetNames,
  templates,
} from '../text/index.js';
export { WordmaskError } from '../util/errors.js';
