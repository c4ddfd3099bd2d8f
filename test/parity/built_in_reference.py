"""A CLIP folder read by transformers against this package's outputs.

    node build/ts/test/parity/built-in.js assets/models/tiny OUT.json
    python test/parity/built_in_reference.py assets/models/tiny OUT.json
"""
import json
import sys

import torch
import torch.nn.functional as F
from transformers import CLIPModel, CLIPTokenizerFast

folder, out = sys.argv[1:]
with open(out) as file:
    ours = json.load(file)
tokenizer = CLIPTokenizerFast.from_pretrained(folder)
# Text that reads like a special token is text here and a token there.
for text, ids in zip(ours["texts"], ours["ids"]):
    if "<|" not in text:
        assert tokenizer(text)["input_ids"] == ids, text
model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
side = ours["side"]
with torch.no_grad():
    pixels = torch.tensor(ours["pixels"]).reshape(-1, 3, side, side)
    image = F.normalize(model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output), dim=-1)
    rows = [model.text_model(input_ids=torch.tensor([ids])).pooler_output for ids in ours["ids"]]
    text = F.normalize(model.text_projection(torch.cat(rows)), dim=-1)
for name, found in (("image", image), ("text", text)):
    error = (found.flatten() - torch.tensor(ours[name])).abs().max().item()
    print(f"{name}: largest difference {error:.2e}")
    assert error < 1e-5
