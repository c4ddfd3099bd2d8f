"""Random cases with the scores that torchmetrics and pycocotools give, for metrics.ts.

    python test/parity/metrics_reference.py OUT.json
"""

import contextlib
import io
import json
import sys

import cv2
import numpy as np
import torch
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchmetrics.detection import PanopticQuality
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_jaccard_index,
)

CASES = 200
rng = np.random.default_rng(20261120)


def blobs(classes, height, width):
    """A map of boxes over a ground of noise or of one class."""
    ground = rng.integers(0, classes) if rng.random() < 0.7 else rng.integers(0, classes, (height, width))
    image = np.broadcast_to(ground, (height, width)).copy()
    for _ in range(rng.integers(1, 7)):
        y, x = rng.integers(0, height), rng.integers(0, width)
        image[y : y + rng.integers(1, height + 1), x : x + rng.integers(1, width + 1)] = rng.integers(0, classes)
    return image


def number(value):
    value = float(value)
    return None if np.isnan(value) else value


def semantic():
    classes = int(rng.integers(1, 30))
    height, width = (int(v) for v in rng.integers(1, 40, 2))
    pred, label = blobs(classes, height, width), blobs(classes, height, width)
    label[rng.random(label.shape) < 0.1] = 255
    label[0, 0] = min(classes - 1, 0)
    p, t = torch.from_numpy(pred), torch.from_numpy(label)
    options = dict(num_classes=classes, ignore_index=255)
    if classes > 1:
        matrix = multiclass_confusion_matrix(p, t, **options)
        iou = multiclass_jaccard_index(p, t, average="none", **options)
        weighted = multiclass_jaccard_index(p, t, average="weighted", **options)
        accuracy = multiclass_accuracy(p, t, average="micro", **options)
    else:
        valid = int((label != 255).sum())
        matrix, iou = torch.tensor([[valid]]), torch.tensor([1.0])
        weighted = accuracy = torch.tensor(1.0)
    present = (matrix.sum(0) + matrix.sum(1)) > 0
    return dict(
        classes=classes,
        pred=pred.ravel().tolist(),
        label=label.ravel().tolist(),
        matrix=matrix.tolist(),
        iou=[float(v) if p else None for v, p in zip(iou, present)],
        weighted=float(weighted),
        accuracy=float(accuracy),
    )


def boundary():
    """Boundary IoU by its authors' construction: mask minus its erosion, the picture's outside being empty."""
    classes = int(rng.integers(1, 6))
    height, width = (int(v) for v in rng.integers(1, 60, 2))
    pred, label = blobs(classes, height, width), blobs(classes, height, width)
    ignored = rng.random(label.shape) < 0.05
    depth = max(1, int(round(0.02 * np.sqrt(height**2 + width**2))))

    def band(mask):
        padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=depth)[1:-1, 1:-1]
        return mask.astype(np.uint8) - eroded

    scores = []
    for c in range(classes):
        a, b = band((pred == c) & ~ignored), band((label == c) & ~ignored)
        union = int((a | b).sum())
        scores.append(int((a & b).sum()) / union if union else None)
    label[ignored] = 255
    return dict(
        classes=classes,
        shape=[height, width],
        pred=pred.ravel().tolist(),
        label=label.ravel().tolist(),
        iou=scores,
    )


def panoptic():
    """Void in the truth, no crowds: torchmetrics has none."""
    categories, things = int(rng.integers(2, 8)), int(rng.integers(1, 3))
    height, width = (int(v) for v in rng.integers(4, 40, 2))
    metric = PanopticQuality(
        things=set(range(things)),
        stuffs=set(range(things, categories)),
        allow_unknown_preds_category=True,
        return_sq_and_rq=True,
        return_per_class=True,
    )
    images = []
    for _ in range(int(rng.integers(1, 4))):
        truth = panoptic_map(categories, things, height, width)
        guess = truth.copy() if rng.random() < 0.3 else panoptic_map(categories, things, height, width)
        shift = int(rng.integers(0, 3))
        guess = np.roll(guess, shift, axis=1)
        void = rng.random((height, width)) < 0.1
        truth[void] = [categories, 0]
        metric.update(torch.from_numpy(guess)[None], torch.from_numpy(truth)[None])
        images.append([as_segments(truth, categories), as_segments(guess, categories)])
    per_class = metric.compute()
    per_class = per_class.reshape(-1, 3)
    return dict(
        categories=[dict(id=c + 1, isthing=int(c < things)) for c in range(categories)],
        images=images,
        per_class=[[float(v) for v in row] for row in per_class],
        counts=[
            [int(metric.true_positives[c]), int(metric.false_positives[c]), int(metric.false_negatives[c])]
            for c in range(categories)
        ],
    )


def panoptic_map(categories, things, height, width):
    category = blobs(categories, height, width)
    instance = blobs(3, height, width)
    instance[category >= things] = 0
    return np.stack([category, instance], -1)


def as_segments(image, void):
    flat = image.reshape(-1, 2)
    pairs, inverse = np.unique(flat, axis=0, return_inverse=True)
    ids = np.zeros(len(flat), np.int64)
    segments = []
    for at, (category, _) in enumerate(pairs):
        if category == void:
            continue
        mine = inverse.reshape(-1) == at
        ids[mine] = at + 1
        segments.append(dict(id=at + 1, category_id=int(category) + 1, area=int(mine.sum()), iscrowd=0))
    return dict(ids=ids.tolist(), segments=segments)


def boxes_mask(height, width):
    mask = np.zeros((height, width), np.uint8, order="F")
    y, x = rng.integers(0, height), rng.integers(0, width)
    mask[y : y + rng.integers(1, height + 1), x : x + rng.integers(1, width + 1)] = 1
    return mask


def encoded(mask):
    code = rle.encode(np.asfortranarray(mask))
    return dict(size=[int(v) for v in code["size"]], counts=code["counts"].decode())


def instances():
    categories = int(rng.integers(1, 4))
    images, annotations, results = [], [], []
    for image in range(1, int(rng.integers(2, 5))):
        height, width = (int(v) for v in rng.integers(8, 180, 2))
        images.append(dict(id=image, width=width, height=height))
        for _ in range(int(rng.integers(0, 8))):
            mask, category = boxes_mask(height, width), int(rng.integers(1, categories + 1))
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image,
                    category_id=category,
                    iscrowd=int(rng.random() < 0.15),
                    area=float(mask.sum()),
                    bbox=[float(v) for v in rle.toBbox(rle.encode(mask))],
                    segmentation=encoded(mask),
                )
            )
            if rng.random() < 0.7:
                shifted = np.asfortranarray(np.roll(mask, int(rng.integers(0, 6)), axis=1))
                results.append((image, category, shifted))
        for _ in range(int(rng.integers(0, 4))):
            results.append((image, int(rng.integers(1, categories + 1)), boxes_mask(height, width)))
    scores = np.round(rng.random(len(results)), 2)
    predictions = [
        dict(image_id=i, category_id=c, score=float(s), segmentation=encoded(m))
        for (i, c, m), s in zip(results, scores)
    ]
    truth = dict(
        info={}, images=images, annotations=annotations, categories=[dict(id=c + 1, name=str(c)) for c in range(categories)]
    )
    if not predictions or not annotations:
        return instances()
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes([dict(p) for p in predictions]), "segm")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return dict(truth=truth, predictions=predictions, stats=[float(v) for v in evaluator.stats])


kinds = dict(semantic=semantic, boundary=boundary, panoptic=panoptic, instances=instances)
with open(sys.argv[1], "w") as file:
    json.dump({name: [make() for _ in range(CASES)] for name, make in kinds.items()}, file)
