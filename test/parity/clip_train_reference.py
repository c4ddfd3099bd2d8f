"""Losses and gradients of caption training with transformers' CLIPModel, compared with test/parity/clip-train.ts.

    node build/ts/test/parity/clip-train.js DIR && python test/parity/clip_train_reference.py DIR

Prints the losses and the largest relative error of a gradient; fails over 1e-3.
"""
import math
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import CLIPModel

folder = sys.argv[1]
model = CLIPModel.from_pretrained(folder).float().eval()
weights = load_file(f"{folder}/model.safetensors")
step = load_file(f"{folder}/step.safetensors")
batch = {k[6:]: v for k, v in step.items() if k.startswith("batch.")}
extra = {k: weights[k].clone().requires_grad_() for k in ("noun_patch.log_scale", "noun_patch.bias")}
vision, text = model.vision_model, model.text_model

# Tower on some patches: transformers' own blocks on tokens put together here.
rows, places = batch["rows"], batch["places"].long()
width = vision.embeddings.class_embedding.numel()
table = vision.embeddings.position_embedding.weight
patches = rows @ vision.embeddings.patch_embedding.weight.reshape(width, -1).T + table[1:][places]
first = (vision.embeddings.class_embedding + table[0]).expand(len(rows), 1, width)
x = vision.pre_layrnorm(torch.cat([first, patches], 1))
layers = vision.encoder.layers
for layer in layers[:-1]:
    out = layer(x, None)
    x = out[0] if isinstance(out, tuple) else out
last = layers[-1]
out = last(x, None)
y = out[0] if isinstance(out, tuple) else out
image = model.visual_projection(vision.post_layernorm(y[:, 0]))
value = last.self_attn.out_proj(last.self_attn.v_proj(last.layer_norm1(x)))
dense = F.normalize(model.visual_projection(vision.post_layernorm(value))[:, 1:], dim=-1)


def encode(ids, ends):
    hidden = text(input_ids=ids.long()).last_hidden_state
    return model.text_projection(hidden[torch.arange(len(ids)), ends.long()])


words = encode(batch["ids"], batch["ends"])
scale = model.logit_scale.exp()


def contrastive(a, b):
    logits = scale * F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T
    target = torch.arange(len(a))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


nouns = F.normalize(encode(batch["nounIds"], batch["nounEnds"]), dim=-1)
pooled = (torch.logsumexp(10 * dense @ nouns.T, 1) - math.log(dense.shape[1])) / 10
logits = extra["noun_patch.log_scale"].exp() * pooled + extra["noun_patch.bias"]
named = batch["named"]
entropy = F.binary_cross_entropy_with_logits(logits, named, reduction="none")
losses = {
    "contrastive": contrastive(image, words),
    "valuePath": contrastive(dense.mean(1), words),
    "nounPatch": (entropy * (named + 0.3 * (1 - named))).sum() / len(named),
}
losses["total"] = losses["contrastive"] + 0.25 * losses["valuePath"] + 0.4 * losses["nounPatch"]
losses["total"].backward()

worst = ("", 0.0)
for name, loss in losses.items():
    print(f"{name}: {loss.item():.6f}, here {step['loss.' + name].item():.6f}")
    assert abs(loss.item() - step["loss." + name].item()) < 1e-4 * abs(loss.item())
known = dict(model.named_parameters()) | extra
missing = [name for name, p in known.items() if (p.grad is not None) != ("grad." + name in step)]
assert not missing, missing
largest = max(p.grad.norm().item() for p in known.values() if p.grad is not None)
for name, p in known.items():
    if p.grad is None:
        continue
    # Key biases have no gradient but rounding: errors are relative to at least a thousandth of the largest norm.
    error = ((p.grad - step["grad." + name]).norm() / max(p.grad.norm().item(), 1e-3 * largest)).item()
    worst = max(worst, (name, error), key=lambda pair: pair[1])
print(f"{sum(p.grad is not None for p in known.values())} gradients, largest relative error {worst[1]:.2e} ({worst[0]})")
assert worst[1] < 1e-3
