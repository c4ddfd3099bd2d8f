/** The commands with their help; what they do is loaded when one of them runs. */
import { Command, Option } from 'commander';
import { type CommandName, commandOptions, type OptionSpec, optionSpecs } from './options.js';

/** What a command gets. */
export interface Invocation {
  readonly command: CommandName;
  readonly args: readonly string[];
  /** Flags that were given, by option name. */
  readonly flags: Readonly<Record<string, unknown>>;
}

interface CommandSpec {
  readonly usage: string;
  readonly text: string;
  readonly examples: readonly string[];
}

const specs: Readonly<Record<CommandName, CommandSpec>> = {
  segment: {
    usage: '[image...]',
    text:
      'Masks for images, named in words. IMAGE is a file, a folder (searched for JPEG, PNG and WebP), a glob in quotes, ' +
      '@list.txt (a path a line), a .jsonl list, or - for stdin.',
    examples: [
      'wordmask segment photo.jpg -l "cat,dog|puppy,grass" -m ./clip-vit-base-patch16 --overlay',
      'wordmask segment photos/ -l @labels.txt -m naclip:openai/clip-vit-base-patch16 -o masks -f voc,coco --on-error skip',
      'wordmask segment photos/ -V vocab.json -m ./clip-vit-base-patch16 -o masks --resume',
      'wordmask segment photo.jpg --from ade150 -m ./clip-vit-base-patch16 --refine crf --background threshold:0.3',
      'cat photo.jpg | wordmask segment - -l cat,dog -m ./clip-vit-base-patch16 -o - -f coco > cat.json',
    ],
  },
  explain: {
    usage: '[image...]',
    text:
      'Where a model found a word: one map over the image a word of -l, before background rules and refiners (--refine names one). ' +
      'Alone, a word gives its similarity (systems that compare) or salience (pnp-ovss, clip-as-rnn); with -V or --from its probability ' +
      'among the labels there. IMAGE as for segment.',
    examples: [
      'wordmask explain photo.jpg -l cat -m ./clip-vit-base-patch16 -o cat.png',
      'wordmask explain photo.jpg -l "cat,dog|puppy" -m naclip:openai/clip-vit-base-patch16 -f overlay,npy -o maps',
      'wordmask explain photos/ -l cat --from voc21 -m ./clip-vit-base-patch16 -f map --bits 16 --range 0,1 -o maps --on-error skip',
      'wordmask explain photo.jpg -l "a red car" -m pnp-ovss:./blip-itm-large -o car.png',
      'wordmask explain photo.jpg -l cat -m ./clip-vit-base-patch16 --json',
    ],
  },
  'vocab build': {
    usage: '',
    text: 'Write a vocabulary file; with -m also the text features of that model beside it.',
    examples: [
      'wordmask vocab build -l "cat,dog|puppy" -o pets.json',
      'wordmask vocab build --from ade150 --templates clip80 -m ./clip-vit-base-patch16 -o ade150.json',
    ],
  },
  'vocab show': {
    usage: '<file|list>',
    text: 'Labels, prompts and settings of a vocabulary file or of a published list.',
    examples: ['wordmask vocab show pets.json', 'wordmask vocab show voc21'],
  },
  'vocab diff': {
    usage: '<a> <b>',
    text: 'What differs between two vocabularies (files or published lists).',
    examples: ['wordmask vocab diff voc20 voc21', 'wordmask vocab diff old.json new.json --json'],
  },
  'models list': { usage: '', text: 'Models in the Hugging Face cache.', examples: ['wordmask models list'] },
  'models pull': {
    usage: '<org/name[@revision]>',
    text: 'Fetch a model into the Hugging Face cache, pinned to a commit. Needs the network and @huggingface/hub.',
    examples: ['wordmask models pull openai/clip-vit-base-patch16'],
  },
  'models verify': {
    usage: '<folder|org/name>',
    text: 'Check the files of a model against their hashes and its weights for values that are not finite.',
    examples: ['wordmask models verify openai/clip-vit-base-patch16', 'wordmask models verify ./run-7'],
  },
  'models info': {
    usage: '<folder|org/name>',
    text: 'Encoder, sizes, system, licence and files of a model.',
    examples: ['wordmask models info ./clip-vit-base-patch16'],
  },
  'models rm': {
    usage: '<org/name>',
    text: 'Delete a model from the Hugging Face cache.',
    examples: ['wordmask models rm openai/clip-vit-base-patch16'],
  },
  convert: {
    usage: '<in> <out>',
    text: 'Label files from one format to another (IN may be a folder; OUT is then a folder too), or a PyTorch checkpoint to safetensors: it is read as data, nothing in it is run.',
    examples: [
      'wordmask convert masks/photo.png photo.json -f coco',
      'wordmask convert labels.png labels.npy --from voc21',
      'wordmask convert masks/ voc-masks/ --input-format png -f voc',
      'wordmask convert model.pth model.safetensors --map clip',
    ],
  },
  doctor: {
    usage: '',
    text: 'Versions, devices, processor, cache and a self-test. Exit code 0 if at least one device works.',
    examples: ['wordmask doctor', 'wordmask doctor --json', 'wordmask doctor --bundle report.json'],
  },
  bench: {
    usage: '[image...]',
    text: 'Time, throughput and memory of segment with a model, on given images or on a drawn one.',
    examples: [
      'wordmask bench -m ./clip-vit-base-patch16 -l cat,dog,grass -n 20',
      'wordmask bench photo.jpg -m ./clip-vit-base-patch16 --from ade150 -o now.json --compare before.json --max-regress 5%',
    ],
  },
  'data draw': {
    usage: '',
    text: 'Drawn scenes as files: pictures, VOC-palette label maps, COCO panoptic PNG and JSON, class list, captions.',
    examples: [
      'wordmask data draw --out scenes --count 20 --split test',
      'wordmask data draw --out train --count 500 --split train --size 96 --captions 4',
    ],
  },
  'data convert': {
    usage: '<kind> <in> <out>',
    text:
      'Raw data sets to the label files that eval reads. KIND: pc459 (folder of .mat), pc60 (trainval_merged.json), coco-stuff and ' +
      'coco-object (raw maps), ade847 (ADE20K_2021_17_01), cityscapes (labelIds), coco-panoptic (panoptic JSON). What is there and ' +
      'right is kept, so the same call goes on after an interruption.',
    examples: [
      'wordmask data convert pc459 VOCdevkit/VOC2010/trainval pascal_ctx_d2/annotations_ctx459/validation',
      'wordmask data convert pc60 VOCdevkit/VOC2010/trainval_merged.json VOCdevkit/VOC2010/SegmentationClassContext',
      'wordmask data convert coco-stuff coco_stuff164k/annotations coco_stuff164k/annotations',
      'wordmask data convert ade847 ADE20K_2021_17_01/images/ADE ade/ADE20K_2021_17_01',
    ],
  },
  eval: {
    usage: '',
    text:
      'Score a model on a data set: metrics with the published figure beside them, classes, confusion, time. The protocol is that of ' +
      "the system's published row unless --protocol names another; all its choices go into the report. A run with -o can be stopped " +
      'and goes on with --resume.',
    examples: [
      'wordmask eval -m naclip:openai/clip-vit-base-patch16 -d voc21 --root data -o voc21.json --report voc21.html',
      'wordmask eval -m tiny -d drawn-scenes --limit 100',
      'wordmask eval -m ./clip-vit-base-patch16 -d ade150 --root data --shard 1/4 -o part-1.json',
      'wordmask eval -m ./clip-vit-base-patch16 -d folder --images photos --truth labels --classes classes.json',
      'wordmask eval -m mgca:./run-1 -d pc59 --root data --protocol sclip --refine none -o pc59.json --resume',
    ],
  },
  'eval merge': {
    usage: '<report...>',
    text: 'Join the reports of shards: exactly what one run over all pictures says.',
    examples: [
      'wordmask eval merge part-1.json part-2.json part-3.json part-4.json -o ade150.json --report ade150.html',
    ],
  },
  'eval diff': {
    usage: '<report...>',
    text: 'Which choices of the protocol differ between reports, and what changed in the figures.',
    examples: ['wordmask eval diff naclip.json naclip-no-pamr.json'],
  },
  'eval drawn-scenes': {
    usage: '',
    text:
      'Measure what the built-in models show on drawn scenes and write the page with all figures. Each measured case is a JSON line ' +
      'of --records, which the page is made from. Rows 6 and 8 need trained runs (--runs-dir, --train). Exit code 0 also where an ' +
      'expectation is not met: the page says so.',
    examples: [
      'wordmask eval drawn-scenes --rows 1,3 --limit 100',
      'wordmask eval drawn-scenes --rows 8 --runs-dir runs --train',
      'wordmask eval drawn-scenes -m ./run-1 --cls-model ./run-2 --out my-table.md --records my-table.jsonl',
    ],
  },
  train: {
    usage: '<recipe.json>',
    text:
      'Train a system by a recipe. The output folder gets checkpoints, metrics.jsonl and report.html, and is a model itself. ' +
      'Ctrl-C ends the run after the running step, with a checkpoint. Exit code 1: samples that could not be used are listed.',
    examples: [
      'wordmask train tiny --out run-1',
      'wordmask train recipe.json --out run-1',
      'wordmask train recipe.json --out run-1 --resume',
      'wordmask train recipe.json --out run-2 --steps 100 --set optimiser.rate=0.001',
      'wordmask segment photo.jpg -m ./run-1 -l cat,dog',
    ],
  },
  'eval robustness': {
    usage: '',
    text:
      'How much a figure owes to its words: the same pictures with words of other lists added (distractors), with synonyms for the names, ' +
      'plain against tuned names, other templates. Every condition is a run over all pictures: --limit keeps it short.',
    examples: [
      'wordmask eval robustness -m ./clip-vit-base-patch16 -d voc21 --root datasets --limit 200 --report robust.html',
      'wordmask eval robustness -m tiny -d drawn-scenes --limit 50',
      'wordmask eval robustness -m tiny -d folder --images photos --truth labels --classes names.json --synonyms words.json --tests synonyms',
    ],
  },
  reproduce: {
    usage: '',
    text:
      'Every published row that the systems of this version can produce, with the figure and whether it was read in its source. Rows whose ' +
      'weights and data are on disk are measured, for the others it says what is missing. Verdicts: reproduced (within 0.2 points), close ' +
      '(within 1), differs; none for figures that were recollected, or where the run is not the whole row.',
    examples: [
      'wordmask reproduce',
      'wordmask reproduce --root datasets --rows naclip --datasets voc20,pc59 -o reports',
      'wordmask reproduce --root datasets -m mgca:./run-1 --rows mgca --json',
    ],
  },
  tune: {
    usage: '',
    text:
      'Find settings of a model on your own pictures: the probability below which a pixel is background (--what background), by labels of some ' +
      'pictures (--truth) or, where the system defines a rule, without; or options by a reward (--what search). In label PNGs 0 is background ' +
      'and 1, 2, ... are the labels in order; where a label is itself marked as background (--from voc21), values count labels from 0. 255 does not count.',
    examples: [
      'wordmask tune -m ./clip-vit-base-patch16 --images photos --truth labels -l cat,dog',
      'wordmask tune -m mgca:./run-1 --from voc21 --images VOC2012/JPEGImages --truth VOC2012/SegmentationClass --limit 200 --save',
      'wordmask tune -m tiny -l sun,house,tree --images scenes/images --truth scenes/labels --json',
    ],
  },
  demo: {
    usage: '[words...]',
    text: 'Draw a scene and segment it with the built-in model; writes picture, overlay and label map to demo-output/.',
    examples: ['wordmask demo', 'wordmask demo sky,grass,tree,house'],
  },
};

const families: Readonly<Record<string, string>> = {
  data: 'Data sets: draw scenes, convert raw data.',
  eval: 'Figures: score models on data sets.',
  vocab: 'Build, show and compare vocabularies.',
  models: 'Local models: list, fetch, check, describe, delete.',
};

/** @param run called with the command that was named; `--help` and `--version` end before that */
export function createProgram(version: string, run: (invocation: Invocation) => Promise<void>): Command {
  const program = new Command('wordmask')
    .description('Name things in words, get pixel masks: open-vocabulary image segmentation.')
    .version(version, '--version', 'print the version')
    .showSuggestionAfterError()
    .enablePositionalOptions()
    .exitOverride()
    .addHelpText(
      'after',
      examples([
        'wordmask segment photo.jpg -l "cat,dog|puppy,grass" -m ./clip-vit-base-patch16 --system naclip --refine crf --overlay',
        'wordmask doctor',
      ]) +
        '\nOptions can also stand in wordmask.config.json and in WORDMASK_* variables; flags win. ' +
        'wordmask COMMAND --help lists those of a command.\n',
    );
  for (const name of Object.keys(specs) as CommandName[]) {
    const [first = '', second] = name.split(' ');
    const parent = second === undefined ? program : family(program, first);
    addCommand(parent, name, second ?? first, version, run);
  }
  return program;
}

function family(program: Command, name: string): Command {
  const found = program.commands.find((command) => command.name() === name);
  if (found) return found;
  const command = program
    .command(name)
    .description(families[name] ?? '')
    .exitOverride()
    .showSuggestionAfterError();
  const list = (Object.keys(specs) as CommandName[]).filter((key) => key.startsWith(`${name} `));
  return command.addHelpText('after', examples(list.map((key) => specs[key].examples[0] as string)));
}

function addCommand(
  parent: Command,
  name: CommandName,
  word: string,
  version: string,
  run: (invocation: Invocation) => Promise<void>,
): void {
  const { usage, text, examples: lines } = specs[name];
  const command = parent.command(`${word} ${usage}`.trim()).description(text).exitOverride().showSuggestionAfterError();
  // Options of a command with commands of its own end where theirs begin.
  if (Object.keys(specs).some((key) => key.startsWith(`${name} `)))
    command.enablePositionalOptions().allowExcessArguments();
  command.version(version, '--version', 'print the version').addHelpText('after', examples(lines));
  for (const key of commandOptions[name]) command.addOption(commanderOption(optionSpecs.get(key) as OptionSpec));
  command.action(async () => {
    const given: Record<string, unknown> = {};
    for (const key of commandOptions[name]) {
      const attribute = attributeOf(optionSpecs.get(key) as OptionSpec);
      if (command.getOptionValueSource(attribute) === 'cli') given[key] = command.getOptionValue(attribute);
    }
    await run({ command: name, args: command.args, flags: given });
  });
}

function commanderOption(spec: OptionSpec): Option {
  const option = new Option(spec.flags, spec.text).helpGroup(spec.group);
  if (spec.kind === 'pairs')
    option.argParser((value: string, before: readonly string[] | undefined) => [...(before ?? []), value]);
  return option;
}

/** Commander's own name for an option: `--no-x` counts as x. */
function attributeOf(spec: OptionSpec): string {
  return new Option(spec.flags).attributeName();
}

function examples(lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  $ ${line}`).join('\n')}\n`;
}
