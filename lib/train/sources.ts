/** From the `data` part of a recipe to a source of pairs. */
import { dirname, isAbsolute, join } from 'node:path';
import { openFolderPairs, openJsonlPairs, openTarPairs } from '../data/pairs/index.js';
import type { PairSource } from '../data/types.js';
import type { DataRecipe } from './recipe.js';

export interface SourceOptions {
  readonly seed: number;
  /** Folder that relative paths of the recipe start from. */
  readonly folder: string;
  readonly signal?: AbortSignal;
  readonly onWarn?: (message: string) => void;
}

/** @throws E_USAGE when the data are not there, E_OPTION for options that the drawing refuses */
export async function openSource(data: DataRecipe, options: SourceOptions): Promise<PairSource> {
  const { signal, onWarn } = options;
  const at = (path: string): string => (isAbsolute(path) ? path : join(options.folder, path));
  switch (data.kind) {
    case 'drawn-scenes': {
      const { drawnScenePairs } = await import('./drawn-pairs.js');
      return drawnScenePairs(data, options.seed);
    }
    case 'folder':
      return openFolderPairs(at(data.path), { captions: data.captions && at(data.captions), signal, side: data.side });
    case 'jsonl':
      return openJsonlPairs(at(data.path), data.images ? at(data.images) : dirname(at(data.path)), {
        signal,
        side: data.side,
      });
    case 'tar':
      return openTarPairs([data.path].flat().map(at), { signal, onWarn, side: data.side });
  }
}
