/** Words of the captions: names and synonyms of the classes, attributes, relations, phrases for kinds of scenes, frames. */
import type { Pattern, SceneClass, SceneKind } from '../classes.js';

/** First the name, then one or two synonyms. */
export const synonyms: Readonly<Record<SceneClass, readonly string[]>> = {
  sky: ['sky', 'heavens', 'firmament'],
  sea: ['sea', 'ocean', 'water'],
  sand: ['sand', 'dunes', 'gravel'],
  grass: ['grass', 'lawn', 'turf'],
  road: ['road', 'asphalt', 'tarmac'],
  snow: ['snow', 'snowfield', 'slush'],
  'brick wall': ['brick wall', 'bricks', 'masonry'],
  'wooden floor': ['wooden floor', 'floorboards', 'planks'],
  mountain: ['mountain', 'peaks', 'cliffs'],
  'wheat field': ['wheat field', 'wheat', 'crops'],
  house: ['house', 'cottage', 'building'],
  car: ['car', 'automobile', 'vehicle'],
  tree: ['tree', 'oak', 'fir'],
  boat: ['boat', 'sailboat', 'ship'],
  sun: ['sun', 'sunshine', 'daystar'],
  moon: ['moon', 'crescent', 'satellite'],
  cloud: ['cloud', 'puff', 'cumulus'],
  ball: ['ball', 'globe', 'sphere'],
  star: ['star', 'pentagram', 'asterisk'],
  flower: ['flower', 'blossom', 'bloom'],
  fish: ['fish', 'trout', 'goldfish'],
  bird: ['bird', 'sparrow', 'songbird'],
  umbrella: ['umbrella', 'parasol', 'brolly'],
  kite: ['kite', 'glider', 'flyer'],
  balloon: ['balloon', 'airship', 'aerostat'],
  chair: ['chair', 'seat', 'stool'],
  table: ['table', 'desk', 'counter'],
  cup: ['cup', 'mug', 'teacup'],
  mushroom: ['mushroom', 'toadstool', 'fungus'],
  rocket: ['rocket', 'spaceship', 'missile'],
  flag: ['flag', 'banner', 'pennant'],
  fence: ['fence', 'railing', 'paling'],
  lamp: ['lamp', 'lantern', 'light'],
  bridge: ['bridge', 'overpass', 'viaduct'],
};

const irregular: Readonly<Record<string, string>> = {
  fish: 'fish',
  trout: 'trout',
  goldfish: 'goldfish',
  sunshine: 'sunshine',
  brolly: 'brollies',
  fungus: 'fungi',
  cumulus: 'cumuli',
};

export function plural(word: string): string {
  return irregular[word] ?? (/(s|x|ch|sh)$/.test(word) ? `${word}es` : `${word}s`);
}

export const patternWords: Readonly<Record<Pattern, readonly string[]>> = {
  plain: ['plain'],
  striped: ['striped', 'stripy'],
  dotted: ['dotted', 'spotted'],
};

export const sizeWords = {
  small: ['small', 'little', 'tiny'],
  large: ['large', 'big', 'huge'],
} as const;

/** Determiners and counts by number of things. */
export const countWords: readonly (readonly string[])[] = [
  [],
  ['a', 'a', 'a', 'one', 'the', 'a single'],
  ['two', 'two', 'a pair of', 'a couple of'],
  ['three', 'three', 'a trio of', 'several'],
];

export const relationWords = {
  left: ['left of', 'to the left of'],
  right: ['right of', 'to the right of'],
  above: ['above', 'over', 'higher than'],
  below: ['below', 'under', 'beneath'],
  behind: ['behind', 'partly hidden by'],
  front: ['in front of', 'before'],
  near: ['next to', 'beside', 'near', 'close to', 'along with'],
} as const;
export type Relation = keyof typeof relationWords;

/** How a thing stands to the stuff it is seen against. */
export const placeWords = {
  on: ['on the', 'standing on the', 'resting on the'],
  in: ['in the', 'high in the', 'up in the'],
  water: ['on the', 'floating on the'],
  against: ['against the', 'in front of the', 'before the'],
} as const;

/** Stuff that is named by itself. */
export const stuffFrames: readonly string[] = [
  'with the {} around',
  'and the {}',
  'with some {}',
  'and {} too',
  'with {} in view',
  'where one sees {}',
  'surrounded by {}',
  'plus {}',
  'and also {}',
];

export const scenePhrases: Readonly<Record<SceneKind, readonly string[]>> = {
  seaside: [
    'at the seaside',
    'by the coast',
    'on the beach',
    'during a summer vacation',
    'at the shore',
    'by the breaking waves',
    'on an island',
  ],
  street: [
    'in the city',
    'in town',
    'on a busy street',
    'downtown',
    'in a quiet neighbourhood',
    'near the crossroads',
    'in the suburbs',
  ],
  meadow: [
    'in the countryside',
    'in a meadow',
    'out in nature',
    'on a farm',
    'in spring',
    'in the valley',
    'under the open air',
  ],
  winter: [
    'in winter',
    'on a cold day',
    'at christmas',
    'on a frosty morning',
    'in january',
    'in the arctic',
    'during february',
  ],
  room: ['in a room', 'indoors', 'inside', 'in the kitchen', 'in the parlour', 'in the living room', 'in the attic'],
  night: [
    'at night',
    'after dark',
    'at midnight',
    'late in the evening',
    'before dawn',
    'at bedtime',
    'while everyone sleeps',
  ],
  harbour: [
    'in the harbour',
    'at the port',
    'by the docks',
    'at the marina',
    'at the quay',
    'at the pier',
    'where sailors meet',
  ],
  fair: [
    'at the fair',
    'at a festival',
    'at the carnival',
    'during a party',
    'on a merry weekend',
    'at the amusement park',
    'on a birthday',
  ],
};

/** Sentences around what is named. */
export const frames: readonly string[] = [
  '{}',
  '{}',
  '{}',
  'a picture of {}',
  'a photo of {}',
  'a drawing of {}',
  'a painting of {}',
  'a sketch of {}',
  'an image of {}',
  'a view of {}',
  'a cartoon of {}',
  'an illustration of {}',
  'there is {}',
  'here is {}',
  'this is {}',
  'we see {}',
  'i can see {}',
  'you may spot {}',
  'look at {}',
  'this shows {}',
  'the picture shows {}',
  'the image contains {}',
  'the drawing has {}',
  'someone drew {}',
  'the artist painted {}',
  'a scene with {}',
  'a postcard with {}',
  'a poster showing {}',
  'a snapshot of {}',
  'what appears is {}',
  '{} can be seen',
  '{} is shown here',
  '{} is depicted',
  'pictured here are {}',
  'my favourite sketch of {}',
  'a colourful page from a book with {}',
  'it features {}',
  'a child made this drawing of {}',
  'a mural of {}',
  'a sticker showing {}',
  'a pretty print of {}',
  'an old film still of {}',
  'the camera caught {}',
  'a stamp with {}',
  'behold {}',
  'notice {}',
  'a simple diagram of {}',
  'an advertisement with {}',
  'my brother photographed {}',
  'a tourist took this shot of {}',
  'a wallpaper displaying {}',
];

/** Captions that name the scene alone. */
export const sceneFrames: readonly string[] = [
  'a scene {}',
  'a moment {}',
  'a picture made {}',
  'somewhere {}',
  'what we find {}',
  'everyday life {}',
  'things {}',
  'a drawing from a time {}',
];
