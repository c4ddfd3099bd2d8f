/** `wordmask demo`: says what it needs until the built-in model is there. */
import { WordmaskError } from '../../util/errors.js';

export async function demo(): Promise<number> {
  throw new WordmaskError(
    'E_MODEL_NOT_FOUND',
    'the demo needs the built-in model, which comes with a later version. Until then, with a CLIP folder of your own: ' +
      'wordmask segment photo.jpg -l "cat,dog|puppy,grass" -m ./clip-vit-base-patch16 --overlay',
  );
}
