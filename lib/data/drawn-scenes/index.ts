/**
 * Drawn scenes: a world of generated pictures with exact masks and captions (drawn-scenes.md section 1). A scene is a function of
 * its seed and options: the same bytes on every machine and thread count.
 */
export * from './captions/grammar.js';
export { type CaptionNoun, classWords, lexicon } from './captions/lexicon.js';
export { frames, plural, scenePhrases, synonyms } from './captions/words.js';
export * from './classes.js';
export * from './draw.js';
export type { SceneOptions, SceneSize } from './options.js';
export { planScene, type ScenePlan, type ThingPlan } from './plan.js';
export * from './splits.js';
