/** All options of all commands: one name each, the same in `wordmask.config.json`, `WORDMASK_*` and the flags. */

/**
 * How a value is read from text: `any` takes JSON where it is JSON, else the text; `list` splits at commas; `pairs` collects
 * `key=value` with JSON values.
 */
export type OptionKind = 'text' | 'integer' | 'number' | 'flag' | 'list' | 'any' | 'labels' | 'pairs';

export interface OptionSpec {
  /** Key in the config file; the variable is WORDMASK_ and the same in capitals. */
  readonly name: string;
  readonly flags: string;
  readonly kind: OptionKind;
  readonly text: string;
  readonly choices?: readonly string[];
  readonly group: string;
}

const groups = {
  io: 'Input and output:',
  words: 'Words:',
  model: 'Model:',
  method: 'Method:',
  run: 'Run:',
  limits: 'Limits:',
  general: 'General:',
} as const;

type Row = readonly [
  name: string,
  flags: string,
  kind: OptionKind,
  group: keyof typeof groups,
  text: string,
  choices?: readonly string[],
];

const rows: readonly Row[] = [
  [
    'labels',
    '-l, --labels <list>',
    'labels',
    'words',
    'labels: cat,dog|puppy or @labels.txt; quotes or \\ keep a comma',
  ],
  ['vocab', '-V, --vocab <file>', 'text', 'words', 'vocabulary file'],
  ['from', '--from <name>', 'text', 'words', 'labels of a published list: voc21, ade150, cityscapes, ...'],
  ['templates', '--templates <set>', 'any', 'words', 'prompt templates: none, photo, clip7, clip80, or a JSON list'],
  ['ensemble', '--ensemble <rule>', 'text', 'words', 'how prompts of a label join', ['max', 'mean']],
  ['background', '--background <mode>', 'any', 'words', 'none, auto, threshold:0.4, margin:0.1, prompts[:sky,wall]'],
  ['model', '-m, --model <name>', 'text', 'model', 'folder, ORG/NAME or SYSTEM:WEIGHTS'],
  [
    'system',
    '--system <name>',
    'text',
    'model',
    'method: clip, maskclip, sclip, clearclip, naclip, mgca, pnp-ovss, clip-as-rnn',
  ],
  ['base', '--base <name>', 'text', 'model', 'frozen model of a trained one (mgca), if it has moved'],
  [
    'encoders',
    '--encoder <role=model>',
    'pairs',
    'model',
    'further model of a system by its role, such as clip=./clip',
  ],
  ['device', '--device <name>', 'text', 'model', 'cpu, cuda, cuda:N or auto'],
  ['dtype', '--dtype <type>', 'text', 'model', 'fp32, bf16 or auto'],
  ['memory', '--memory <size>', 'text', 'model', 'memory that calls may take, such as 4GiB'],
  ['threads', '--threads <n>', 'integer', 'model', 'threads of the CPU back end'],
  ['cacheDir', '--cache-dir <dir>', 'text', 'model', 'Hugging Face cache folder'],
  ['revision', '--revision <name>', 'text', 'model', 'branch, tag or commit of a hub model'],
  ['download', '--download', 'flag', 'model', 'fetch a hub model that is not in the cache'],
  ['checkWeights', '--no-check-weights', 'flag', 'model', 'do not look for NaN in the weights'],
  ['out', '-o, --out <dir>', 'text', 'io', 'output folder (wordmask-out), or - for stdout'],
  ['output', '-o, --output <file>', 'text', 'io', 'file to write; - is stdout'],
  ['format', '-f, --format <list>', 'list', 'io', 'output formats (png): png, voc, ade, rgb, overlay, coco, ...'],
  ['inputFormat', '--input-format <name>', 'text', 'io', 'format of the input where its extension does not tell'],
  [
    'map',
    '--map <name>',
    'text',
    'io',
    "names of a checkpoint's tensors: clip, blip, albef, mplug, bridgetower; without it they stay",
  ],
  ['overlay', '--overlay', 'flag', 'io', 'also write a picture with colours and legend'],
  ['alpha', '--alpha <share>', 'number', 'io', 'weight of the colours in an overlay (0.5)'],
  ['contours', '--no-contours', 'flag', 'io', 'no outlines in an overlay'],
  ['showLegend', '--no-legend', 'flag', 'io', 'no legend below an overlay'],
  ['plane', '--plane <name>', 'text', 'io', 'plane that npy holds: labels, score, margin, entropy, topk, ...'],
  ['imageFormats', '--image-formats <list>', 'list', 'io', 'image formats to accept (jpeg,png,webp; also tiff, avif)'],
  ['task', '--task <name>', 'text', 'method', 'semantic'],
  ['preset', '--preset <name>', 'text', 'method', 'published settings of a benchmark, such as voc21'],
  ['size', '--size <pixels>', 'any', 'method', 'short side that the encoder sees, or native'],
  ['maxSide', '--max-side <pixels>', 'integer', 'method', 'longest side that the encoder sees'],
  ['window', '--window <pixels>', 'integer', 'method', 'side of the sliding window; 0 is the whole image'],
  ['stride', '--stride <pixels>', 'integer', 'method', 'step of the sliding window'],
  ['refine', '--refine <name>', 'any', 'method', 'none, pamr, crf, or a JSON object with parameters'],
  ['threshold', '--threshold <p>', 'number', 'method', 'below this probability a pixel is background'],
  ['minArea', '--min-area <pixels>', 'integer', 'method', 'drop segments with fewer pixels'],
  ['outputs', '--outputs <list>', 'list', 'method', 'planes: score, margin, entropy, topk, probabilities'],
  ['topk', '--topk <k>', 'integer', 'method', 'labels a pixel in the topk plane (5)'],
  ['set', '--set <key=value>', 'pairs', 'method', 'any option of the system, JSON value; repeatable'],
  ['sceneSize', '--size <pixels>', 'text', 'io', 'size of drawn scenes: 96 or 192x128'],
  ['split', '--split <name>', 'text', 'io', 'split of the data (test)'],
  ['count', '--count <n>', 'integer', 'io', 'number of scenes (10)'],
  ['seed', '--seed <n>', 'integer', 'io', 'number of the first scene in its split (0)'],
  ['captions', '--captions <n>', 'integer', 'io', 'captions of each scene (1)'],
  ['mapType', '-f, --format <type>', 'text', 'io', 'file type of 16-bit label maps (tif)', ['tif', 'png']],
  ['page', '-o, --out <file>', 'text', 'io', 'page to write (docs/drawn-scenes.md)'],
  ['records', '--records <file>', 'text', 'io', 'measured records, JSON lines (bench/results/drawn-scenes.jsonl)'],
  ['clsModel', '--cls-model <name>', 'text', 'model', 'CLIP trained as an ordinary one (tiny-cls)'],
  [
    'rows',
    '--rows <list>',
    'list',
    'run',
    'rows of the table to measure, such as 1,3 (all); none only writes the page',
  ],
  ['limit', '--limit <n>', 'integer', 'run', 'most pictures, from the first (all)'],
  [
    'dataset',
    '-d, --dataset <name>',
    'text',
    'io',
    'data set: voc21, pc60, coco-stuff, ade150, ..., drawn-scenes, folder',
  ],
  ['root', '--root <dir>', 'text', 'io', "folder that holds the data set's folders"],
  ['classFile', '--classes <file>', 'text', 'io', 'JSON list of class names (or { name, prompts }) in label order'],
  ['listFile', '--list <file>', 'text', 'io', 'file with the name of a picture a line'],
  ['imageSuffix', '--image-suffix <text>', 'text', 'io', 'end of the names of picture files, such as _leftImg8bit.png'],
  ['truthSuffix', '--truth-suffix <text>', 'text', 'io', 'end of the names of label files'],
  ['reduceZeroLabel', '--reduce-zero-label', 'flag', 'io', 'label 0 does not count, 1 is the first class'],
  ['partial', '--partial', 'flag', 'io', 'go on with fewer pictures than the list names'],
  [
    'protocol',
    '--protocol <name>',
    'any',
    'method',
    'tcl, sclip, d2, pnp-ovss, car, published (default), or a JSON file',
  ],
  ['savePredictions', '--save-predictions <dir>', 'text', 'io', 'folder for predictions as grey PNGs of class indices'],
  ['reportPage', '--report <file>', 'text', 'io', 'report as one HTML file, or as Markdown (.md)'],
  ['runsDir', '--runs-dir <dir>', 'text', 'io', 'folder of the training runs that rows need (wordmask-runs)'],
  ['trainRuns', '--train', 'flag', 'run', 'train the runs that are missing; takes hours'],
  ['imageFolder', '--images <dir>', 'text', 'io', 'folder of pictures'],
  ['truthFolder', '--truth <dir>', 'text', 'io', 'folder of label PNGs of the same names as the pictures'],
  ['tests', '--tests <list>', 'list', 'run', 'distractors, synonyms, names, templates (all)'],
  ['distractors', '--distractors <list>', 'text', 'words', 'class list that distractors are drawn from (ade847)'],
  ['distractorCounts', '--counts <list>', 'list', 'words', 'numbers of distractors (10,50,200)'],
  ['synonyms', '--synonyms <file>', 'text', 'words', 'JSON list of lists: words of each class'],
  ['draws', '--draws <n>', 'integer', 'run', 'random choices of one other word a class (3)'],
  [
    'templateSets',
    '--template-sets <list>',
    'list',
    'words',
    'template sets (identity,simple,imagenet-subset-7,imagenet-80)',
  ],
  ['publishedRows', '--rows <list>', 'list', 'run', 'published rows by id, or systems (all)'],
  ['datasets', '--datasets <list>', 'list', 'run', 'data sets (all)'],
  ['reportFolder', '-o, --out <dir>', 'text', 'io', 'folder for reports; what is there is not measured again'],
  ['what', '--what <name>', 'text', 'run', 'what is tuned: background (default) or search', ['background', 'search']],
  ['drawLimit', '--limit <n>', 'integer', 'run', 'most pictures used, drawn by --seed (200)'],
  ['drawSeed', '--seed <n>', 'integer', 'run', 'seed of what is drawn (0)'],
  ['thresholds', '--thresholds <list>', 'list', 'run', 'thresholds to try (0.05,0.1, ... 0.95)'],
  ['ignore', '--ignore <value>', 'integer', 'run', 'value of the truth that does not count (255)'],
  ['journal', '--journal <file>', 'text', 'io', 'what a search measured, to go on from'],
  ['evaluations', '--evaluations <n>', 'integer', 'run', "evaluations of each group of a search (the system's)"],
  ['parallel', '--parallel <n>', 'integer', 'run', 'groups of a search at work at once (1)'],
  ['save', '--save', 'flag', 'run', "write the settings into the model's folder"],
  ['timeout', '--timeout <ms>', 'number', 'run', 'longest time for one image'],
  ['resume', '--resume', 'flag', 'run', 'go on with what is in the output folder'],
  ['overwrite', '--overwrite', 'flag', 'run', 'replace what is there'],
  ['shard', '--shard <i/n>', 'text', 'run', 'do the i-th of n parts of the images'],
  ['onError', '--on-error <what>', 'text', 'run', 'at a bad image: stop (default) or skip', ['stop', 'skip']],
  ['dryRun', '--dry-run', 'flag', 'run', 'print what would be done and the memory it takes'],
  ['steps', '--steps <n>', 'integer', 'run', "steps of the training, instead of the recipe's"],
  ['runs', '-n, --runs <n>', 'integer', 'run', 'measured runs (20)'],
  ['warmup', '--warmup <n>', 'integer', 'run', 'runs before measuring (3)'],
  ['compare', '--compare <file>', 'text', 'run', 'earlier result to compare with'],
  ['maxRegress', '--max-regress <share>', 'text', 'run', 'exit 1 when slower by more than this, such as 5%'],
  ['bundle', '--bundle <file>', 'text', 'io', 'write the report to a file, to attach to a bug report'],
  ['limitPixels', '--limit-pixels <n>', 'integer', 'limits', 'pixels of an image (64000000)'],
  ['limitFileBytes', '--limit-file-bytes <n>', 'integer', 'limits', 'bytes of an image file (67108864)'],
  ['limitSide', '--limit-side <n>', 'integer', 'limits', 'longest side of an image (65535)'],
  ['limitLabels', '--limit-labels <n>', 'integer', 'limits', 'labels of a vocabulary (10000)'],
  ['limitLabelBytes', '--limit-label-bytes <n>', 'integer', 'limits', 'bytes of a label (1024)'],
  ['limitPrompts', '--limit-prompts <n>', 'integer', 'limits', 'prompts of a label (64)'],
  ['limitTemplates', '--limit-templates <n>', 'integer', 'limits', 'prompt templates (128)'],
  ['config', '--config <file>', 'text', 'general', 'config file (wordmask.config.json in this folder)'],
  ['printConfig', '--print-config', 'flag', 'general', 'print the options in force and where they come from'],
  ['json', '--json', 'flag', 'general', 'one JSON object on stdout'],
  ['jsonl', '--jsonl', 'flag', 'general', 'one JSON line an item on stdout'],
  ['quiet', '-q, --quiet', 'flag', 'general', 'no messages but errors'],
  ['verbose', '--verbose', 'flag', 'general', 'more messages'],
];

export const optionSpecs: ReadonlyMap<string, OptionSpec> = new Map(
  rows.map(([name, flags, kind, group, text, choices]) => [
    name,
    { name, flags, kind, text, group: groups[group], choices },
  ]),
);

const general = ['config', 'printConfig', 'json', 'quiet', 'verbose'];
const words = ['labels', 'vocab', 'from', 'templates', 'ensemble', 'background'];
const model = [
  'model',
  'system',
  'base',
  'encoders',
  'device',
  'dtype',
  'memory',
  'threads',
  'cacheDir',
  'revision',
  'download',
  'checkWeights',
];
const method = [
  'task',
  'preset',
  'size',
  'maxSide',
  'window',
  'stride',
  'refine',
  'threshold',
  'minArea',
  'outputs',
  'topk',
  'set',
];
const vocabularyLimits = ['limitLabels', 'limitLabelBytes', 'limitPrompts', 'limitTemplates'];
const imageLimits = ['limitPixels', 'limitFileBytes', 'limitSide'];
const overlay = ['alpha', 'contours', 'showLegend'];
const cache = ['cacheDir', 'revision'];

/** Options of each command, by the words of its name. */
export const commandOptions = {
  segment: [
    ...['out', 'format', 'overlay', ...overlay, 'plane', 'imageFormats'],
    ...words,
    ...model,
    ...method,
    ...['timeout', 'resume', 'shard', 'onError', 'dryRun'],
    ...imageLimits,
    ...vocabularyLimits,
    ...general,
    'jsonl',
  ],
  'vocab build': [...words, 'output', ...model, ...vocabularyLimits, ...general],
  'vocab show': [...general, ...vocabularyLimits],
  'vocab diff': [...general, ...vocabularyLimits],
  'models list': ['cacheDir', ...general],
  'models pull': [...cache, ...general],
  'models verify': [...cache, ...general],
  'models info': [...cache, 'system', ...general],
  'models rm': ['cacheDir', ...general],
  convert: ['format', 'inputFormat', 'map', ...words.slice(0, 3), 'overwrite', ...overlay, 'plane', ...general],
  doctor: ['cacheDir', 'bundle', ...general],
  bench: [
    ...['runs', 'warmup', 'compare', 'maxRegress', 'output', 'imageFormats'],
    ...words,
    ...model,
    ...method,
    ...imageLimits,
    ...vocabularyLimits,
    ...general,
  ],
  'data draw': ['out', 'count', 'split', 'sceneSize', 'seed', 'captions', 'overwrite', ...general],
  'data convert': ['mapType', 'overwrite', 'onError', ...general],
  eval: [
    ...[
      'dataset',
      'root',
      'split',
      'imageFolder',
      'truthFolder',
      'classFile',
      'listFile',
      'imageSuffix',
      'truthSuffix',
    ],
    ...['ignore', 'reduceZeroLabel', 'partial', 'output', 'reportPage', 'savePredictions'],
    ...['protocol', 'refine', 'set', 'task'],
    ...['limit', 'shard', 'resume', 'onError'],
    ...model,
    ...general,
  ],
  'eval merge': ['output', 'reportPage', ...general],
  'eval diff': [...general],
  'eval drawn-scenes': [
    ...['model', 'clsModel', 'rows', 'limit', 'page', 'records', 'runsDir', 'trainRuns', 'threads'],
    ...general,
  ],
  train: ['out', 'steps', 'set', 'device', 'threads', 'resume', 'overwrite', ...general],
  tune: [
    ...[
      'imageFolder',
      'truthFolder',
      'what',
      'drawLimit',
      'drawSeed',
      'thresholds',
      'ignore',
      'journal',
      'evaluations',
      'parallel',
    ],
    ...['save', 'output', 'onError', 'imageFormats'],
    ...words,
    ...model,
    ...method,
    ...vocabularyLimits,
    ...general,
  ],
  'eval robustness': [
    ...[
      'dataset',
      'root',
      'split',
      'imageFolder',
      'truthFolder',
      'classFile',
      'listFile',
      'imageSuffix',
      'truthSuffix',
    ],
    ...['ignore', 'reduceZeroLabel', 'partial', 'protocol', 'refine', 'set', 'limit'],
    ...['tests', 'distractors', 'distractorCounts', 'synonyms', 'draws', 'templateSets', 'drawSeed'],
    ...['output', 'reportPage', 'onError'],
    ...model,
    ...general,
  ],
  reproduce: [
    ...['root', 'publishedRows', 'datasets', 'limit', 'partial', 'reportFolder', 'dryRun', 'onError'],
    ...model,
    ...general,
  ],
  demo: [...general],
} as const satisfies Readonly<Record<string, readonly string[]>>;

export type CommandName = keyof typeof commandOptions;

/** `maxSide` -> `WORDMASK_MAX_SIDE` */
export function variableOf(name: string): string {
  return `WORDMASK_${name.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase()}`;
}
