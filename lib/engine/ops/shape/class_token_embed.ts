import { defineOp } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { sumTo } from '../math/sum_to.js';
import { refFill } from '../reference.js';

export const classTokenEmbedCard = defineOp({
  name: 'class_token_embed',
  inputs: ['patches', 'classToken', 'positions'],
  attrs: {},
  shape: (specs) => {
    const [patches, token, positions] = specs;
    const [n = 0, p = 0, d = 0] = patches!.shape;
    if (patches!.shape.length !== 3 || !sameShape(token!.shape, [d]) || !sameShape(positions!.shape, [p + 1, d])) {
      rejectShape('class_token_embed', 'patches [N, P, D], class token [D], positions [1 + P, D]', specs);
    }
    return [{ shape: [n, p + 1, d], dtype: patches!.dtype }]; // [N, 1 + P, D]
  },
  grad: ({ inputs: [patches, token, positions], grads: [dy] }) => [
    () => dy!.slice(1, 1, (patches!.shape[1] as number) + 1),
    () => sumTo(dy!.slice(1, 0, 1), token!.shape),
    () => sumTo(dy!, positions!.shape),
  ],
  reference: ([patches, token, positions]) => {
    const [n, p, d] = patches!.shape as [number, number, number];
    return [
      refFill([n, p + 1, d], ([i, t, k]) => {
        const value = t === 0 ? token!.data[k!] : patches!.data[(i! * p + t! - 1) * d + k!];
        return (value as number) + (positions!.data[t! * d + k!] as number);
      }),
    ];
  },
  samples: [
    {
      name: 'ragged',
      inputs: [{ shape: [3, 5, 17] }, { shape: [17] }, { shape: [6, 17] }],
      dtypes: ['f32', 'f64', 'bf16'],
    },
    {
      name: 'whole vectors',
      inputs: [{ shape: [2, 3, 16] }, { shape: [16] }, { shape: [4, 16] }],
      dtypes: ['f32', 'bf16'],
    },
    { name: 'no patches', inputs: [{ shape: [2, 0, 4] }, { shape: [4] }, { shape: [1, 4] }] },
    { name: 'no images', inputs: [{ shape: [0, 2, 4] }, { shape: [4] }, { shape: [3, 4] }] },
  ],
  bench: [
    {
      name: 'B/16, 8 images',
      inputs: [{ shape: [8, 196, 768] }, { shape: [768] }, { shape: [197, 768] }],
      dtypes: ['f32', 'bf16'],
    },
  ],
});

/** The token sequence of a ViT: class token in front of patches [N, P, D], plus positions [1 + P, D] -> [N, 1 + P, D]. @throws E_OPTION */
export function classTokenEmbed(patches: Tensor, classToken: Tensor, positions: Tensor): Tensor {
  return run(classTokenEmbedCard, [patches, classToken, positions])[0] as Tensor;
}
