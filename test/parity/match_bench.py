"""GradCAM at one cross-attention layer of a BLIP folder in PyTorch, for test/parity/match-bench.ts.

    python test/parity/match_bench.py --make DIR      # a random BLIP-large folder
    python test/parity/match_bench.py DIR             # rows on request

Reads one JSON line a request from standard input, {"row": "published" | "cut", "size": 336, "threads": 2, "runs": 3}, and
answers with {"seconds": [...], "processor": [...] (of all threads), "peak": bytes beyond the resident memory before the run}. `published` is the way of the authors'
code: a hook keeps the probabilities of one layer and backward runs through the whole model; `cut` runs everything below the
layer's attention without a tape and differentiates from there. Needs torch and transformers; nothing of the package does.
"""
import json
import sys
import threading
import time

import torch
from transformers import BlipConfig, BlipForImageTextRetrieval

LAYER = 7


def make(folder):
    torch.manual_seed(0)
    config = BlipConfig(
        text_config=dict(encoder_hidden_size=1024, num_attention_heads=12),
        vision_config=dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, layer_norm_eps=1e-6),
    )
    model = BlipForImageTextRetrieval(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.02)
    model.save_pretrained(folder)
    with open(f"{folder}/vocab.txt", "w") as file:
        file.write("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + [f"w{i}" for i in range(30522 - 4)]) + "\n")


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


class Peak:
    """Highest resident memory beyond that at the start, looked at every 2 ms."""

    def __enter__(self):
        self.base = self.top = resident()
        self.stop = False
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.stop:
            self.top = max(self.top, resident())
            time.sleep(0.002)

    def __exit__(self, *_):
        self.stop = True
        self.thread.join()


def load(folder):
    model = BlipForImageTextRetrieval.from_pretrained(folder, attn_implementation="eager").eval()
    # Files are mapped: what is read on first use would count as memory of the first run.
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model


def published(model, pixels, ids):
    kept = {}

    def hook(module, inputs, output):
        probabilities = output[1]
        probabilities.retain_grad()
        kept["p"] = probabilities

    handle = model.text_encoder.encoder.layer[LAYER].crossattention.self.register_forward_hook(hook)
    model.zero_grad(set_to_none=True)
    image = model.vision_model(pixels, interpolate_pos_encoding=True)[0]
    text = model.text_encoder(input_ids=ids, encoder_hidden_states=image, output_attentions=True, return_dict=True)
    model.itm_head(text[0][:, 0])[:, 1].sum().backward()
    handle.remove()
    return kept["p"].detach(), kept["p"].grad


def cut(model, pixels, ids):
    kept = {}

    def hook(module, inputs, output):
        context, probabilities = output[0], output[1]
        value = module.value(kept["image"])
        kept["v"] = value.view(*value.shape[:2], module.num_attention_heads, -1).transpose(1, 2)
        kept["p"] = probabilities
        with torch.enable_grad():
            kept["c"] = context.detach().requires_grad_()
        return (kept["c"],) + tuple(output[1:])

    handle = model.text_encoder.encoder.layer[LAYER].crossattention.self.register_forward_hook(hook)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad():
        kept["image"] = image = model.vision_model(pixels, interpolate_pos_encoding=True)[0]
    text = model.text_encoder(input_ids=ids, encoder_hidden_states=image, output_attentions=True, return_dict=True)
    y = model.itm_head(text[0][:, 0])[:, 1].sum()
    (dc,) = torch.autograd.grad(y, kept["c"])
    handle.remove()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    heads = kept["p"].shape[1]
    dc = dc.view(dc.shape[0], dc.shape[1], heads, -1).transpose(1, 2)
    return kept["p"].detach(), dc @ kept["v"].detach().transpose(2, 3)


def main(folder):
    model = load(folder)
    ids = torch.arange(1000, 1012).view(1, -1)
    print(json.dumps({"torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        torch.set_num_threads(request["threads"])
        pixels = torch.randn(1, 3, request["size"], request["size"], generator=torch.Generator().manual_seed(1))
        run = {"published": published, "cut": cut}[request["row"]]
        seconds, processor, peak = [], [], 0
        for _ in range(request["runs"]):
            with Peak() as watch:
                start, busy = time.perf_counter(), time.process_time()
                p, g = run(model, pixels, ids)
                seconds.append(time.perf_counter() - start)
                processor.append(time.process_time() - busy)
            peak = max(peak, watch.top - watch.base)
        model.zero_grad(set_to_none=True)
        print(json.dumps({"seconds": seconds, "processor": processor, "peak": peak, "sum": float((p * g.clamp(min=0)).abs().sum())}), flush=True)


if sys.argv[1] == "--make":
    make(sys.argv[2])
else:
    main(sys.argv[1])
