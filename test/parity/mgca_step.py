"""One training step of MGCA's decoder in PyTorch, the counterpart of bench/systems/mgca-step.ts: the same frozen CLIP, decoder,
losses (stored form) and AdamW, synthetic pictures and texts.

    python test/parity/mgca_step.py DIR

Reads one JSON line a request from standard input, {"dtype": "fp32" | "bf16", "threads": 2, "batch": 16, "tokens": 16, "runs": 3},
and answers with {"seconds": [...], "cpu": [...], "stages": {...}, "peak": bytes}. bf16: the frozen towers in bf16, the decoder under
autocast with f32 weights. Maps are channels-last, which is the faster layout here. Needs torch and transformers; nothing of
the package or its tests does.
"""
import json
import resource
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPModel

ALPHA, BETA, THETA, TAU = 0.4, 0.05, 0.06, 0.07
folder = sys.argv[1]
types = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Identity(nn.Module):
    """Each token attends to itself alone."""

    def __init__(self, attention):
        super().__init__()
        self.v_proj, self.out_proj = attention.v_proj, attention.out_proj

    def forward(self, hidden_states, *_, **__):
        return self.out_proj(self.v_proj(hidden_states)), None


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.gate = nn.Parameter(torch.tensor(0.1))

    def forward(self, u):
        hidden = F.gelu(self.norm(u.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return u + torch.tanh(self.gate) * self.conv(hidden)


class Decoder(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.block1, self.block2 = Block(width), Block(width)

    def forward(self, features):
        return self.block2(self.block1(F.interpolate(features, scale_factor=2, mode="nearest")))


def load(dtype):
    model = CLIPModel.from_pretrained(folder, attn_implementation="sdpa").to(dtype).eval().requires_grad_(False)
    last = model.vision_model.encoder.layers[-1]
    last.self_attn = Identity(last.self_attn)
    return model


def image_features(model, pixels):
    vision = model.vision_model
    tokens = vision(pixels).last_hidden_state[:, 1:]
    features = model.visual_projection(vision.post_layernorm(tokens))
    side = int(features.shape[1] ** 0.5)
    return features.float().reshape(len(pixels), side, side, -1).permute(0, 3, 1, 2)


def text_features(model, ids):
    pooled = model.text_model(ids).pooler_output
    return model.text_projection(pooled).float()


def symmetric(logits):
    target = torch.arange(len(logits))
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def mgca_loss(embeddings, text):
    """embeddings [B, N, D], text [B, D]"""
    b, n, d = embeddings.shape
    s = torch.einsum("ind,jd->ijn", embeddings, text)
    p = s.softmax(-1)
    own = torch.eye(b, dtype=torch.bool)
    positives, negatives, rank = round(ALPHA * n), round(BETA * n), round(THETA * n)
    mask = torch.zeros_like(s, dtype=torch.bool)
    mask.scatter_(2, s.detach().topk(negatives, -1).indices, True)
    diagonal = torch.zeros(b, n, dtype=torch.bool)
    diagonal.scatter_(1, s.detach()[own].topk(positives, -1).indices, True)
    mask[own] = diagonal
    regions = torch.bmm(p * mask, embeddings)
    unit = F.normalize(text, dim=-1)
    objects = F.normalize(regions[own], dim=-1) @ unit.T
    cosines = (F.normalize(regions, dim=-1) * unit).sum(-1)
    ranked = s[own].topk(rank, -1).values[:, -1]
    pixels = torch.where(own, ranked[:, None], s.amax(-1))
    return symmetric(objects / TAU) + symmetric(cosines / TAU) + symmetric(pixels / d**0.5)


def peak_bytes(reset=False):
    if reset:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


class Step:
    def __init__(self, dtype):
        self.dtype = types[dtype]
        self.model = load(self.dtype)
        width = self.model.config.projection_dim
        self.decoder = Decoder(width).to(memory_format=torch.channels_last)
        weights = [x for x in self.decoder.parameters() if x.ndim != 1]
        vectors = [x for x in self.decoder.parameters() if x.ndim == 1]
        groups = [{"params": weights, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=1e-4)
        self.side = self.model.config.vision_config.image_size

    def run(self, batch, tokens, stages):
        clock = time.perf_counter()

        def stage(name):
            nonlocal clock
            now = time.perf_counter()
            stages[name] = stages.get(name, 0.0) + now - clock
            clock = now

        pixels = torch.randn(batch, 3, self.side, self.side, dtype=self.dtype)
        ids = torch.randint(1, 40000, (batch, tokens))
        ids[:, 0], ids[:, -1] = 49406, 49407
        clock = time.perf_counter()
        with torch.no_grad():
            text = text_features(self.model, ids)
            stage("text")
            features = image_features(self.model, pixels)
            stage("image")
        with torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            maps = self.decoder(features)
        stage("decoder")
        embeddings = maps.float().permute(0, 2, 3, 1).flatten(1, 2)
        loss = mgca_loss(embeddings, text)
        stage("losses")
        self.optimiser.zero_grad()
        loss.backward()
        stage("backward")
        self.optimiser.step()
        stage("optimiser")
        return loss.item()


def answer(value):
    print(json.dumps(value), flush=True)


answer({"torch": torch.__version__})
steps = {}
for line in sys.stdin:
    request = json.loads(line)
    torch.set_num_threads(request["threads"])
    step = steps.get(request["dtype"])
    if step is None:
        steps.clear()
        step = steps[request["dtype"]] = Step(request["dtype"])
        step.run(request["batch"], request["tokens"], {})
    peak_bytes(reset=True)
    seconds, cpu, stages = [], [], {}
    for _ in range(request["runs"]):
        start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        step.run(request["batch"], request["tokens"], stages)
        now = resource.getrusage(resource.RUSAGE_SELF)
        seconds.append(time.perf_counter() - start)
        cpu.append(now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime)
    stages = {name: value / request["runs"] for name, value in stages.items()}
    answer({"seconds": seconds, "cpu": cpu, "stages": stages, "peak": peak_bytes()})
