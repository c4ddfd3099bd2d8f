/**
 * Outputs of a CLIP folder for test/parity/built_in_reference.py: node build/ts/test/parity/built-in.js FOLDER OUT.json
 */
import { writeFile } from 'node:fs/promises';
import { loadBackbone } from '#lib/registry/backbones.js';
import { loadTokenizer } from '#lib/text/index.js';
import { Random } from '#lib/util/random.js';

const [folder, out] = process.argv.slice(2) as [string, string];
const texts = ['a red house on the grass', 'two fish by the sea', 'Ünusual WORDS: 3 <|endoftext|>', ''];
const backbone = await loadBackbone(folder);
const side = (backbone.config as { vision: { imageSize: number } }).vision.imageSize;
const random = new Random(1);
const pixels = Float32Array.from({ length: 2 * 3 * side * side }, () => random.normal());
const image = await backbone.encodeImage({ data: pixels, shape: [2, 3, side, side] });
const text = await backbone.encodeText(texts);
const ids = (await loadTokenizer(folder)).encode(texts);
const list = (array: { data: ArrayLike<number | bigint> }) => Array.from(array.data as ArrayLike<number>);
await writeFile(out, JSON.stringify({ texts, ids, side, pixels: [...pixels], image: list(image), text: list(text) }));
backbone.dispose();
