/** Texts to features. */
import { concat, gather, scope, Tensor } from '../../engine/index.js';
import type { Tokenizer } from '../../text/index.js';
import type { ClipModel } from './model.js';

/** Rows encoded at once: enough to fill the kernels, small enough that one batch ends soon after an abort. */
const batchRows = 64;

/**
 * Texts -> projected features [T, E], not normalised. Padding behind the end token cannot reach it (attention is causal),
 * so each batch is only as long as its longest text; texts of equal length share a batch.
 */
export function encodeTexts(
  model: ClipModel,
  tokenizer: Tokenizer,
  texts: readonly string[],
  warnings: string[] = [],
): Tensor {
  const encoded = tokenizer.encodeBatch([...texts], { maxLength: model.config.text.positions });
  warnings.push(...encoded.warnings);
  return encodeIds(model, encoded.ids);
}

/** The same from token ids. Results do not depend on what else is in a batch. */
export function encodeIds(model: ClipModel, ids: readonly (readonly number[])[]): Tensor {
  const order = ids
    .map((_, i) => i)
    .sort((a, b) => (ids[a] as readonly number[]).length - (ids[b] as readonly number[]).length || a - b);
  return scope(() => {
    const parts: Tensor[] = [];
    for (let begin = 0; begin < order.length; begin += batchRows) {
      parts.push(
        encodeBatch(
          model,
          order.slice(begin, begin + batchRows).map((i) => ids[i] as readonly number[]),
        ),
      );
    }
    const sorted = parts.length === 1 ? (parts[0] as Tensor) : concat(parts, 0); // [T, E] in order of length
    const back = new Int32Array(order.length);
    order.forEach((original, position) => {
      back[original] = position;
    });
    return gather(sorted, Tensor.from(back));
  });
}

function encodeBatch(model: ClipModel, rows: readonly (readonly number[])[]): Tensor {
  return scope(() => {
    const length = Math.max(...rows.map((row) => row.length));
    const table = new Int32Array(rows.length * length);
    const ends = new Int32Array(rows.length);
    rows.forEach((row, i) => {
      table.set(row, i * length);
      ends[i] = i * length + model.endPosition(row);
    });
    const hidden = model.encodeTextTokens(Tensor.from(table, [rows.length, length])); // [B, L, D]
    const pooled = gather(hidden.reshape(rows.length * length, -1), Tensor.from(ends)); // [B, D]
    return model.projectText(pooled); // [B, E]
  });
}
