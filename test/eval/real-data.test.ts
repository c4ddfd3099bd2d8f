/** Real pictures with labels in the layouts of their data sets, end to end with the built-in model. */
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import { evaluate } from 'wordmask/eval';
import { readPng } from '#lib/image/png.js';
import { open } from '#lib/pipelines/open.js';
import { data, needsData } from '../helpers/data.js';

/** Pixels of a stored label map by value. */
async function histogram(file: string): Promise<Map<number, number>> {
  const { data: values } = await readPng(await readFile(file));
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}

t.test('CamVid, VOC, Cityscapes, LoveDA and COCO panoptic', needsData, async (t) => {
  const root = t.testdir();
  const link = async (from: string, to: string): Promise<void> => {
    await mkdir(dirname(join(root, to)), { recursive: true });
    await symlink(data(from), join(root, to));
  };
  const voc = 'VOCdevkit/VOC2012';
  const city = 'frankfurt/frankfurt_000000_000294';
  const stem = 'cityscapes/frankfurt_000000_000294';
  await link('camvid', 'CamVid');
  await link('voc/original/2007_000129.jpg', `${voc}/JPEGImages/2007_000129.jpg`);
  await link('voc/original/2007_000129.png', `${voc}/SegmentationClass/2007_000129.png`);
  await mkdir(join(root, voc, 'ImageSets/Segmentation'), { recursive: true });
  await writeFile(join(root, voc, 'ImageSets/Segmentation/val.txt'), '2007_000129\n');
  await link(`${stem}_leftImg8bit.png`, `cityscapes/leftImg8bit/val/${city}_leftImg8bit.png`);
  await link(`${stem}_gtFine_labelTrainIds.png`, `cityscapes/gtFine/val/${city}_gtFine_labelTrainIds.png`);
  await link('aerial/loveda-0-image.png', 'loveDA/img_dir/val/0.png');
  await link('aerial/loveda-0-label.png', 'loveDA/ann_dir/val/0.png');
  await link('panoptic/input_images', 'coco/val2017');
  await link('panoptic/panoptic_examples', 'coco/panoptic_val2017');
  await link('panoptic/panoptic_examples.json', 'coco/annotations/panoptic_val2017.json');

  await using model = await open('tiny', { device: 'cpu' });
  const run = (name: string, split?: string) =>
    evaluate({
      model,
      dataset: { name, root, ...(split && { split }) },
      partial: true,
      limit: 2,
      protocol: { refine: 'none' },
    });
  const areas = async (name: string, split?: string) => {
    const report = await run(name, split);
    t.equal(report.counts.done, report.counts.asked, name);
    t.ok(report.counts.correctPixels <= report.counts.validPixels);
    return report.perClass.map(({ labelArea }) => labelArea);
  };
  const stored = async (file: string, classes: number, first = 0) => {
    const counts = await histogram(data(file));
    return Array.from({ length: classes }, (_, c) => counts.get(c + first) ?? 0);
  };
  t.same(await areas('voc21'), await stored('voc/original/2007_000129.png', 21), 'the border does not count');
  t.same(await areas('voc20'), await stored('voc/original/2007_000129.png', 20, 1), 'nor does the background');
  t.same(await areas('cityscapes'), await stored(`${stem}_gtFine_labelTrainIds.png`, 19));
  t.same(await areas('loveda'), await stored('aerial/loveda-0-label.png', 7, 1));
  const camvid = await Promise.all(
    ['0016E5_07959', '0016E5_07991'].map((name) => stored(`camvid/val/labels/${name}.png`, 11)),
  );
  t.same(
    await areas('camvid', 'val'),
    camvid[0]?.map((count, c) => count + (camvid[1]?.[c] ?? 0)),
  );
  const panoptic = await areas('coco-panoptic');
  const { annotations } = JSON.parse(await readFile(data('panoptic/panoptic_examples.json'), 'utf8')) as {
    annotations: { segments_info: { area: number }[] }[];
  };
  const segments = annotations.flatMap(({ segments_info: list }) => list.map(({ area }) => area));
  t.equal(
    panoptic.reduce((sum, area) => sum + area, 0),
    segments.reduce((sum, area) => sum + area, 0),
  );
});
