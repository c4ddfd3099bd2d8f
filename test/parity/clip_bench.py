"""Times the vision tower of a CLIP folder in PyTorch, for bench/systems/compare.ts.

    python test/parity/clip_bench.py DIR

Reads one JSON line a request from standard input, {"dtype": "fp32" | "bf16", "threads": 1, "batch": 1, "runs": 3}, and
answers with {"seconds": [...]} (pixels to projected patch features, scaled dot product attention). Needs torch and
transformers; nothing of the package or its tests does.
"""
import json
import sys
import time

import torch
from transformers import CLIPModel

folder = sys.argv[1]
types = {"fp32": torch.float32, "bf16": torch.bfloat16}
models = {name: CLIPModel.from_pretrained(folder, attn_implementation="sdpa").to(dtype).eval() for name, dtype in types.items()}
side = models["fp32"].config.vision_config.image_size


def encode(model, pixels):
    tokens = model.vision_model(pixels).last_hidden_state[:, 1:]
    return model.visual_projection(model.vision_model.post_layernorm(tokens))


def answer(value):
    print(json.dumps(value), flush=True)


answer({"torch": torch.__version__})
with torch.inference_mode():
    for line in sys.stdin:
        request = json.loads(line)
        torch.set_num_threads(request["threads"])
        dtype = types[request["dtype"]]
        pixels = torch.randn(request["batch"], 3, side, side, dtype=dtype)
        seconds = []
        for _ in range(request["runs"]):
            start = time.perf_counter()
            encode(models[request["dtype"]], pixels)
            seconds.append(time.perf_counter() - start)
        answer({"seconds": seconds})
