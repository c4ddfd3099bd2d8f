"""Losses and gradients of match training with transformers' BlipForImageTextRetrieval, compared with test/parity/blip-train.ts.

    node build/ts/test/parity/blip-train.js DIR && python test/parity/blip_train_reference.py DIR

Wrong pairs are drawn here again from the stored noise. Prints the losses and the largest relative error of a gradient; fails
over 1e-3.
"""
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoTokenizer, BlipForImageTextRetrieval

folder = sys.argv[1]
model = BlipForImageTextRetrieval.from_pretrained(folder, attn_implementation="eager").float().eval()
step = load_file(f"{folder}/step.safetensors")
batch = {k[6:]: v for k, v in step.items() if k.startswith("batch.")}
log_scale = load_file(f"{folder}/model.safetensors")["logit_scale"].clone().requires_grad_()

# The tokenizer's files mean the same to transformers.
tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=False)
ids, lengths = batch["ids"].long(), batch["lengths"].long()
for row, length in zip(ids, lengths):
    text = tokenizer.decode(row[1 : length - 1])
    assert tokenizer(text)["input_ids"] == row[:length].tolist(), text

# Vision tower on some patches: transformers' own blocks on tokens put together here.
embeddings = model.vision_model.embeddings
table = embeddings.position_embedding[0]
weight, bias = embeddings.patch_embedding.weight, embeddings.patch_embedding.bias
patches = batch["rows"] @ weight.reshape(len(weight), -1).T + bias + table[1:][batch["places"].long()]
first = (embeddings.class_embedding[0] + table[0]).expand(len(ids), 1, len(weight))
x = torch.cat([first, patches], 1)
for layer in model.vision_model.encoder.layers:
    out = layer(x)
    x = out[0] if isinstance(out, tuple) else out
tokens = model.vision_model.post_layernorm(x)

mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
words = model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
image = F.normalize(model.vision_proj(tokens[:, 0]), dim=-1)
text = F.normalize(model.text_proj(words[:, 0]), dim=-1)
logits = log_scale.exp() * image @ text.T
target = torch.arange(len(ids))
losses = {"contrastive": (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2}

with torch.no_grad():
    texts = ((logits.softmax(1) + 1e-4).log() + batch["noise"][0]).argmax(1)
    images = ((logits.T.softmax(1) + 1e-4).log() + batch["noise"][1]).argmax(1)
assert (texts != target).all() and (images != target).all()
asked = ids.clone()
asked[:, 0] = tokenizer.convert_tokens_to_ids("[ENC]")
every = torch.cat([asked, asked[texts], asked])
masks = torch.cat([mask, mask[texts], mask])
pictures = torch.cat([tokens, tokens, tokens[images]])
seen = torch.ones(pictures.shape[:2], dtype=torch.long)
hidden = model.text_encoder(
    input_ids=every, attention_mask=masks, encoder_hidden_states=pictures, encoder_attention_mask=seen
).last_hidden_state
labels = torch.cat([torch.ones(len(ids)), torch.zeros(2 * len(ids))]).long()
losses["matching"] = F.cross_entropy(model.itm_head(hidden[:, 0]), labels)
losses["total"] = losses["contrastive"] + losses["matching"]
losses["total"].backward()

worst = ("", 0.0)
for name, loss in losses.items():
    print(f"{name}: {loss.item():.6f}, here {step['loss.' + name].item():.6f}")
    assert abs(loss.item() - step["loss." + name].item()) < 1e-4 * abs(loss.item())
known = dict(model.named_parameters()) | {"logit_scale": log_scale}
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
