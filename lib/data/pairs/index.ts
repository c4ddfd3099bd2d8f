/** Readers of image-caption pairs. */
export { openFolderPairs } from './folder.js';
export { openJsonlPairs } from './jsonl.js';
export { openTarPairs, type TarOptions } from './tar.js';
