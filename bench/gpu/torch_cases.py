"""The cases of the device bench through PyTorch: `npm run bench:gpu` runs this where a Python with torch is.

Reads one JSON line from standard input: device, seconds and least of a timing, whether to compile encoders, a deadline (Unix
seconds), and the cases with their sizes. Answers with {"torch", "device"} and then one JSON line a case: milliseconds of one
call ("median", "p95", "p99", "best"), "runs" of "batch" calls each, and "by", the fastest of the ways tried, or "error".
Attention takes the best of all back ends of scaled dot product attention, an encoder the better of eager and torch.compile.
"""
import json
import math
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

request = json.loads(sys.stdin.readline())
cuda = request["device"] == "cuda"
if cuda and not torch.cuda.is_available():
    sys.exit("PyTorch sees no GPU")
device = torch.device("cuda:0" if cuda else "cpu")
types = {"bf16": torch.bfloat16, "f32": torch.float32}
ROTATED = 160 << 20
BATCH_MS = 4.0


def say(value):
    print(json.dumps(value), flush=True)


def finish():
    if cuda:
        torch.cuda.synchronize()


def normal(*shape, dtype="bf16", deviation=1.0):
    return torch.randn(*shape, device=device, dtype=types[dtype]) * deviation


def rotated(make):
    """Sets of inputs that exceed the caches together."""
    first = make()
    size = sum(t.numel() * t.element_size() for t in first)
    copies = min(64, max(1, math.ceil(ROTATED / max(1, size)))) if cuda else 1
    return [first] + [make() for _ in range(copies - 1)]


def measure(call):
    """Milliseconds of call(turn): batches between two events, queued behind a pause of the device."""
    turn = 0
    for _ in range(3):
        call(turn)
        turn += 1
    finish()
    begin = time.perf_counter()
    call(turn)
    finish()
    once = (time.perf_counter() - begin) * 1e3
    batch = max(1, min(128, round(BATCH_MS / max(once, 1e-3)))) if cuda else 1
    samples = []
    end = time.perf_counter() + request["seconds"]
    while len(samples) < request["least"] or time.perf_counter() < end:
        if cuda:
            start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            torch.cuda._sleep(int(4e6 + 2e5 * batch))
            start.record()
        begin = time.perf_counter()
        for _ in range(batch):
            call(turn)
            turn += 1
        if cuda:
            stop.record()
            stop.synchronize()
            samples.append(start.elapsed_time(stop) / batch)
        else:
            samples.append((time.perf_counter() - begin) * 1e3 / batch)
    samples.sort()
    rank = lambda share: samples[max(0, math.ceil(share * len(samples)) - 1)]
    return {
        "median": statistics.median(samples), "p95": rank(0.95), "p99": rank(0.99), "best": samples[0],
        "runs": len(samples), "batch": batch,
    }


def fastest(ways):
    """The best of several ways; one that cannot do the case is left out."""
    found, errors = [], []
    for name, call in ways:
        try:
            found.append({**measure(call), "by": name})
        except Exception as error:  # a back end that refuses a shape
            errors.append(f"{name}: {str(error).splitlines()[0]}")
    if not found:
        raise RuntimeError("; ".join(errors))
    return min(found, key=lambda result: result["median"])


BACKENDS = [
    ("cuDNN", SDPBackend.CUDNN_ATTENTION), ("flash", SDPBackend.FLASH_ATTENTION),
    ("efficient", SDPBackend.EFFICIENT_ATTENTION), ("math", SDPBackend.MATH),
]


def backends(tokens):
    # The plain form holds every probability in memory.
    return [(name, kind) for name, kind in BACKENDS if name != "math" or tokens <= 1025]


def attention(c):
    B, H, T, d = c["batch"], c["heads"], c["tokens"], c["d"]

    def joint():
        rows = normal(B, T, 3, H, d, dtype=c["dtype"])
        return tuple(rows[:, :, i].transpose(1, 2) for i in range(3))

    if not c.get("backward"):
        sets = rotated(joint)

        def way(kind):
            def call(turn):
                with sdpa_kernel(kind):
                    return F.scaled_dot_product_attention(*sets[turn % len(sets)], is_causal=c["causal"])
            return call

        return fastest([(name, way(kind)) for name, kind in backends(T)])
    q, k, v = (t.detach().requires_grad_() for t in joint())
    up = normal(B, H, T, d)

    def way(kind):
        with sdpa_kernel(kind):
            out = F.scaled_dot_product_attention(q, k, v)
        return lambda turn: torch.autograd.grad(out, (q, k, v), up, retain_graph=True)

    results, errors = [], []
    with torch.enable_grad():
        for name, kind in backends(T):
            try:
                results.append({**measure(way(kind)), "by": name})
            except Exception as error:
                errors.append(f"{name}: {str(error).splitlines()[0]}")
    if not results:
        raise RuntimeError("; ".join(errors))
    return min(results, key=lambda result: result["median"])


def cross(c):
    B, H, Q, K, d = c["batch"], c["heads"], c["queries"], c["keys"], c["d"]
    sets = rotated(lambda: (normal(B, H, Q, d), normal(B, H, K, d), normal(B, H, K, d), normal(B, 1, Q, K) > 0))

    def way(kind):
        def call(turn):
            q, k, v, mask = sets[turn % len(sets)]
            with sdpa_kernel(kind):
                return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return call

    return fastest([(name, way(kind)) for name, kind in BACKENDS])


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS = {"none": lambda x: x, "quick_gelu": quick_gelu, "gelu": F.gelu}


def linear(c):
    m, n, k = c["m"], c["n"], c["k"]
    sets = rotated(lambda: (normal(m, k), normal(n, k, deviation=k ** -0.5), normal(n)))
    act = ACTIVATIONS[c["activation"]]

    def call(turn):
        x, w, b = sets[turn % len(sets)]
        return act(F.linear(x, w, b if c["bias"] else None))

    return measure(call)


def cosine(c):
    sets = rotated(lambda: (normal(c["n"], c["p"], c["d"]), F.normalize(normal(c["s"], c["d"]), dim=-1)))

    def call(turn):
        x, w = sets[turn % len(sets)]
        return (F.normalize(x, dim=-1) @ w.T).transpose(1, 2).float()

    return measure(call)


def of_rows(op):
    def run(c):
        sets = rotated(lambda: (normal(*c["shape"], dtype=c["dtype"]),))
        width = normal(c["shape"][-1], dtype=c["dtype"])
        return measure(lambda turn: op(sets[turn % len(sets)][0], width))
    return run


def copy(c):
    x = normal(c["n"])
    y = torch.empty_like(x)
    return measure(lambda turn: y.copy_(x))


def adamw(c):
    p = normal(c["n"], dtype="f32").requires_grad_()
    p.grad = normal(c["n"], dtype="f32", deviation=0.01)
    optimiser = torch.optim.AdamW([p], lr=1e-6, fused=cuda)
    return measure(lambda turn: optimiser.step())


def conv(c):
    make = lambda *shape: normal(*shape).to(memory_format=torch.channels_last)
    sets = rotated(lambda: (make(c["images"], c["width"], c["side"], c["side"]), make(c["width"], c["width"], 3, 3)))
    return measure(lambda turn: F.conv2d(*sets[turn % len(sets)], padding=1))


def merge(c):
    (height, width), out, crop = c["canvas"], tuple(c["out"]), c["crop"]
    boxes = [c["boxes"][i:i + 4] for i in range(0, len(c["boxes"]), 4)]
    count = torch.zeros(1, height, width, device=device)
    for y1, x1, y2, x2 in boxes:
        count[:, y1:y2, x1:x2] += 1
    sets = rotated(lambda: (normal(c["windows"], c["q"], c["grid"], c["grid"], dtype="f32", deviation=0.1),))

    def call(turn):
        maps = F.interpolate(sets[turn % len(sets)][0], size=(crop, crop), mode="bilinear")
        total = torch.zeros(c["q"], height, width, device=device)
        for window, (y1, x1, y2, x2) in zip(maps, boxes):
            total[:, y1:y2, x1:x2] += window
        return F.interpolate((total / count)[None], size=out, mode="bilinear").mul(40).softmax(1).argmax(1)

    return measure(call)


def pamr(c):
    kernel = torch.zeros(8, 1, 3, 3, device=device)
    for i, at in enumerate(j for j in range(9) if j != 4):
        kernel[i, 0, at // 3, at % 3] = 1
    sets = rotated(lambda: (normal(1, 3, c["height"], c["width"], dtype="f32"),
                            normal(1, c["classes"], c["height"], c["width"], dtype="f32")))

    def neighbours(x):
        b, k, h, w = x.shape
        flat = x.reshape(b * k, 1, h, w)
        parts = [F.conv2d(F.pad(flat, [d] * 4, mode="replicate"), kernel, dilation=d) for d in c["dilations"]]
        return torch.cat(parts, 1).reshape(b, k, 8 * len(parts), h, w)

    def call(turn):
        guide, masks = sets[turn % len(sets)]
        near = neighbours(guide)
        deviation = torch.cat([near, guide[:, :, None]], 2).std(2, keepdim=True)
        weights = (-(near - guide[:, :, None]).abs() / (1e-8 + 0.1 * deviation)).mean(1, keepdim=True).softmax(2)
        for _ in range(c["steps"]):
            masks = (neighbours(masks) * weights).sum(2)
        return masks

    return measure(call)


class Encoder(torch.nn.Module):
    """CLIP's vision tower: patch rows to projected patch features."""

    def __init__(self, c):
        super().__init__()
        D, self.heads, self.act = c["width"], c["heads"], ACTIVATIONS[c["activation"]]
        grid = c["side"] // c["patch"]
        self.patch = torch.nn.Linear(3 * c["patch"] ** 2, D, bias=False)
        self.first = torch.nn.Parameter(torch.randn(1, 1, D) * D ** -0.5)
        self.places = torch.nn.Parameter(torch.randn(1, grid * grid + 1, D) * D ** -0.5)
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(D) for _ in range(2 * c["layers"] + 2))
        maps = [(D, 3 * D), (D, D), (D, 4 * D), (4 * D, D)]
        self.maps = torch.nn.ModuleList(torch.nn.Linear(*shape) for _ in range(c["layers"]) for shape in maps)
        self.projection = torch.nn.Linear(D, c["embed"], bias=False)
        self.layers = c["layers"]

    def forward(self, rows):
        x = self.patch(rows)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1) + self.places
        x = self.norms[0](x)
        B, T, D = x.shape
        for i in range(self.layers):
            qkv, out, fc1, fc2 = self.maps[4 * i:4 * i + 4]
            q, k, v = qkv(self.norms[2 * i + 1](x)).reshape(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
            x = x + out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, T, D))
            x = x + fc2(self.act(fc1(self.norms[2 * i + 2](x))))
        return self.projection(self.norms[-1](x[:, 1:]))


def encode(c):
    model = Encoder(c).to(device, torch.bfloat16).eval()
    grid = c["side"] // c["patch"]
    rows = normal(c["windows"], grid * grid, 3 * c["patch"] ** 2)
    ways = [("eager", lambda turn: model(rows))]
    # A compiler that starts too late would end the run.
    if request["compile"] and cuda and time.time() < request["deadline"] - 45:
        compiled = torch.compile(model, mode="reduce-overhead", dynamic=False)
        ways.append(("torch.compile", lambda turn: compiled(rows)))
    return fastest(ways)


KINDS = {
    "attention": attention, "cross": cross, "linear": linear, "cosine": cosine, "copy": copy, "adamw": adamw, "conv": conv,
    "merge": merge, "pamr": pamr, "encode": encode,
    "layer_norm": of_rows(lambda x, w: F.layer_norm(x, (x.shape[-1],), w, w)),
    "softmax": of_rows(lambda x, w: x.softmax(-1)),
}
say({"torch": torch.__version__, "device": torch.cuda.get_device_name() if cuda else "cpu"})
# Compiling takes half a minute a shape: those come last.
for case in sorted(request["cases"], key=lambda c: c["kind"] == "encode"):
    if time.time() > request["deadline"]:
        break
    try:
        with torch.no_grad():
            say({"id": case["id"], **KINDS[case["kind"]](case)})
    except Exception as error:
        say({"id": case["id"], "error": str(error).splitlines()[0] if str(error) else type(error).__name__})
    if cuda:
        torch.cuda.empty_cache()
