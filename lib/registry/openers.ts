/** Opens the encoders of a system that predicts by itself, by role. */
import { loadClipBackbone, openClip, parseClipConfig } from '../backbones/clip/index.js';
import type { SystemOpeners } from '../systems/types.js';
import { show, WordmaskError } from '../util/errors.js';
import type { ModelFolder } from './folder.js';
import { openMatching } from './matching.js';

export interface OpenerOptions {
  readonly compute: 'f32' | 'bf16';
  readonly checkWeights: boolean;
  readonly signal?: AbortSignal;
}

/** @param folders by role, each of a family that the system says it runs on */
export function systemOpeners(folders: ReadonlyMap<string, ModelFolder>, options: OpenerOptions): SystemOpeners {
  const folderOf = (role: string): ModelFolder => {
    const folder = folders.get(role);
    if (folder) return folder;
    throw new WordmaskError('E_INTERNAL', `no model was resolved for the role ${show(role)}`);
  };
  return {
    matching: async (role) => openMatching(folderOf(role), options),
    clip: async (role) => {
      const folder = folderOf(role);
      const config = parseClipConfig(folder.configFile, folder.config);
      return loadClipBackbone(folder.tokenizer, config, folder.weights, {
        compute: options.compute,
        trainable: options.compute === 'f32',
        checkWeights: options.checkWeights,
      });
    },
    clipTowers: async (role) => openClip(folderOf(role), { ...options, differentiable: 'last-block' }),
  };
}
