"""Writes test/golden/resize.json: CRC-32 of what Pillow and OpenCV make of generated pictures, for test/engine/resize.test.ts.

Run by hand: python test/parity/resize_golden.py (needs numpy, pillow, opencv-python).
"""
import json
import pathlib
import zlib

import cv2
import numpy as np
import PIL
from PIL import Image

SIZES = [
    (375, 500, 448, 597), (31, 47, 10, 11), (9, 14, 17, 33), (8, 40, 19, 13), (64, 96, 32, 48), (60, 90, 20, 30), (1, 7, 5, 3),
    (200, 3, 50, 8), (33, 33, 33, 70), (128, 17, 3, 1), (97, 101, 96, 100), (21, 34, 84, 136),
]
PIL_MODES = {'pil_bilinear': Image.BILINEAR, 'pil_bicubic': Image.BICUBIC, 'pil_nearest': Image.NEAREST}
CV_MODES = {'opencv_linear': cv2.INTER_LINEAR, 'opencv_nearest': cv2.INTER_NEAREST, 'opencv_area': cv2.INTER_AREA}


def picture(height, width, seed):
    """Noise over blocks: a 32-bit linear congruential generator, upper byte, as in the test."""
    state, out = seed, np.empty(height * width * 3, np.uint8)
    for i in range(out.size):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = state >> 24 if (i // 24) % 3 else (state >> 31) * 255
    return out.reshape(height, width, 3)


cases = []
for seed, (h, w, height, width) in enumerate(SIZES, 1):
    image = picture(h, w, seed)
    for mode, number in PIL_MODES.items():
        out = np.asarray(Image.fromarray(image).resize((width, height), number))
        cases.append({'mode': mode, 'seed': seed, 'from': [h, w], 'to': [height, width], 'crc32': zlib.crc32(out.tobytes())})
    for mode, number in CV_MODES.items():
        out = cv2.resize(image, (width, height), interpolation=number)
        cases.append({'mode': mode, 'seed': seed, 'from': [h, w], 'to': [height, width], 'crc32': zlib.crc32(out.tobytes())})

path = pathlib.Path(__file__).parent.parent / 'golden' / 'resize.json'
head = json.dumps({'pillow': PIL.__version__, 'opencv': cv2.__version__})[:-1]
lines = ',\n'.join('    ' + json.dumps(case) for case in cases)
path.write_text(f'{head},\n  "cases": [\n{lines}\n  ]\n}}\n')
