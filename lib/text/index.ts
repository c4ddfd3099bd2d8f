/** Words without tensors: tokenizers, prompt templates, class lists and the text of a vocabulary. */
export { type ClassEntry, classList, classListNames, classes, templateAliases, templateSet, templateSetNames, templates } from './lists.js';
export { type LoadOptions, loadTokenizer } from './load.js';
export { type EncodeOptions, type EncodedBatch, Tokenizer, type TokenizerKind, textLimit } from './tokenizer.js';
