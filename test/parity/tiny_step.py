"""One training step of the built-in CLIP in PyTorch, the counterpart of bench/systems/train-step.ts: same sizes, same three
loss terms, same gradient step with momentum, synthetic data. As there, the last block of a tower runs its queries, output map
and MLP for the one token that is read.

    python test/parity/tiny_step.py [--threads 1,2] [--batch 128] [--seconds 5] [--only fp32,bf16]

bf16 is autocast with f32 weights. Prints a JSON line a case. Needs torch alone; nothing of the package or its tests needs this.
"""
import argparse
import json
import math
import resource
import time

import torch
import torch.nn.functional as F
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--threads", default="1,2")
parser.add_argument("--batch", type=int, default=128)
parser.add_argument("--seconds", type=float, default=5)
parser.add_argument("--only", default="bf16,fp32")
args = parser.parse_args()

WIDTH, HEADS, EMBED, PATCHES, KEPT, NOUNS, NOUN_TOKENS = 128, 2, 128, 64, 32, 64, 8


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x, causal):
        b, l, d = x.shape
        q, k, v = self.qkv(self.ln1(x)).view(b, l, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).reshape(b, l, d)
        x = x + self.out(y)
        return x + self.fc2(F.gelu(self.fc1(self.ln2(x))))

    def read(self, x, places, mask):
        """The token at `places` of each row behind the block [B, D], and the value path before its output map [B, L, D]."""
        b, l, d = x.shape
        normed, rows = self.ln1(x), torch.arange(b)
        k, v = F.linear(normed, self.qkv.weight[WIDTH:], self.qkv.bias[WIDTH:]).split(WIDTH, -1)
        q = F.linear(normed[rows, places], self.qkv.weight[:WIDTH], self.qkv.bias[:WIDTH])
        heads = lambda t: t.view(b, -1, HEADS, d // HEADS).transpose(1, 2)
        y = F.scaled_dot_product_attention(heads(q), heads(k), heads(v), attn_mask=mask).transpose(1, 2).reshape(b, d)
        y = x[rows, places] + self.out(y)
        return y + self.fc2(F.gelu(self.fc1(self.ln2(y)))), v


class Clip(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Linear(192, WIDTH, bias=False)
        self.cls, self.places = nn.Parameter(torch.randn(WIDTH) * 0.1), nn.Parameter(torch.randn(1 + PATCHES, WIDTH) * 0.1)
        self.pre, self.post, self.final = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.vision, self.text = nn.ModuleList(Block() for _ in range(4)), nn.ModuleList(Block() for _ in range(2))
        self.words, self.order = nn.Embedding(1024, WIDTH), nn.Parameter(torch.randn(32, WIDTH) * 0.01)
        self.to_image, self.to_text = nn.Linear(WIDTH, EMBED, bias=False), nn.Linear(WIDTH, EMBED, bias=False)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.noun_scale, self.noun_bias = nn.Parameter(torch.tensor(math.log(10.0))), nn.Parameter(torch.tensor(-3.0))

    def encode_text(self, ids, ends):
        x = self.words(ids) + self.order[: ids.shape[1]]
        for block in self.text[:-1]:
            x = block(x, True)
        mask = (torch.arange(ids.shape[1]) <= ends[:, None])[:, None, None]
        return self.to_text(self.final(self.text[-1].read(x, ends, mask)[0]))

    def contrastive(self, image, text):
        logits = self.scale.exp() * F.normalize(image.float(), dim=-1) @ F.normalize(text.float(), dim=-1).T
        target = torch.arange(len(logits))
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    def forward(self, batch):
        rows, places, ids, ends, noun_ids, named = batch
        x = self.patch(rows) + self.places[1:][places]
        x = self.pre(torch.cat([(self.cls + self.places[0]).expand(len(x), 1, WIDTH), x], 1))
        for block in self.vision[:-1]:
            x = block(x, False)
        token, values = self.vision[-1].read(x, torch.zeros(len(x), dtype=torch.long), None)
        image = self.to_image(self.post(token))
        patches = F.normalize(self.to_image(self.post(self.vision[-1].out(values[:, 1:]))).float(), dim=-1)
        text = self.encode_text(ids, ends)
        nouns = F.normalize(self.encode_text(noun_ids, torch.full((NOUNS,), NOUN_TOKENS - 1)).float(), dim=-1)
        pooled = (torch.logsumexp(10 * (patches @ nouns.T), 1) - math.log(KEPT)) / 10
        logits = pooled * self.noun_scale.exp() + self.noun_bias
        weight = 0.3 + 0.7 * named
        noun = F.binary_cross_entropy_with_logits(logits, named, weight, reduction="sum") / len(x)
        return self.contrastive(image, text) + 0.25 * self.contrastive(patches.mean(1), text) + 0.4 * noun


def make_batch(size):
    lengths = torch.randint(8, 21, (size,))
    return (
        torch.rand(size, KEPT, 192) * 2 - 1,
        torch.stack([torch.randperm(PATCHES)[:KEPT] for _ in range(size)]),
        torch.randint(0, 1024, (size, int(lengths.max()))),
        lengths - 1,
        torch.randint(0, 1024, (NOUNS, NOUN_TOKENS)),
        (torch.rand(size, NOUNS) < 3 / NOUNS).float(),
    )


def step(model, optimiser, batch, bf16):
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = model(batch)
    loss.backward()
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


torch.manual_seed(1)
batch = make_batch(args.batch)
for name in args.only.split(","):
    model = Clip()
    optimiser = torch.optim.SGD(model.parameters(), 1e-4, 0.9, foreach=True)
    for threads in map(int, args.threads.split(",")):
        torch.set_num_threads(threads)
        for _ in range(5):
            step(model, optimiser, batch, name == "bf16")
        walls, cpu, end = [], time.process_time(), time.perf_counter() + args.seconds
        while len(walls) < 5 or time.perf_counter() < end:
            start = time.perf_counter()
            step(model, optimiser, batch, name == "bf16")
            walls.append(time.perf_counter() - start)
        cpu = time.process_time() - cpu
        median = sorted(walls)[len(walls) // 2]
        print(json.dumps({
            "name": "train step, PyTorch " + torch.__version__, "dtype": name, "threads": threads, "batch": args.batch,
            "median": round(median * 1000, 2), "best": round(min(walls) * 1000, 2), "runs": len(walls),
            "pairs a second": round(args.batch / median, 1), "best pairs a second": round(args.batch / min(walls), 1),
            "cpu ms a step": round(cpu / len(walls) * 1000, 1),
            "peak resident MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
        }), flush=True)
