/** Words without tensors: tokenizers, prompt templates, class lists and the text of a vocabulary. */
export { type ClassEntry, classList, classListNames, classes, templateAliases, templateSet, templateSetNames, templates } from './lists.js';
export { type LoadOptions, loadTokenizer } from './load.js';
export { type EncodeOptions, type EncodedBatch, Tokenizer, type TokenizerKind, textLimit } from './tokenizer.js';
export { type BackgroundInput, type BackgroundPolicy, backgroundWords, parseBackground } from './background.js';
export { type Label, type LabelInput, type VocabularyLimits, defaultLimits } from './label.js';
export { type Ensemble, type TemplateChoice, type VocabularyFile, type VocabularyOptions, VocabularySpec, fillTemplate, vocabularyFormat } from './vocabulary.js';
