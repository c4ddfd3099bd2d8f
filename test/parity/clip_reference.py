"""Reference outputs of a CLIP folder from PyTorch and transformers, for test/parity/clip-full.ts.

    python test/parity/clip_reference.py --make b16 DIR        a random full-size model folder (b16 or l14-336)
    python test/parity/clip_reference.py DIR OUT.safetensors   inputs and outputs of a folder

Needs torch, transformers and safetensors; nothing of the package or its tests does.
"""
import argparse
import time

import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

SIZES = {
    "b16": (dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, image_size=224, patch_size=16),
            dict(hidden_size=512, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=8, eos_token_id=49407), 512),
    "l14-336": (dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336, patch_size=14),
                dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, eos_token_id=49407), 768),
}


def make(kind, folder):
    vision, text, projection = SIZES[kind]
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=projection)).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            # The default initialisation attends almost uniformly; a sharper softmax is the harder case.
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                p.mul_(3)
    model.save_pretrained(folder)


def reference(folder, out):
    model = CLIPModel.from_pretrained(folder, attn_implementation="sdpa").eval()
    size = model.config.vision_config.image_size
    torch.manual_seed(1)
    # Smooth noise: patches differ, as in a photograph.
    pixels = torch.nn.functional.interpolate(torch.randn(1, 3, size // 8, size // 8), size=(size, size), mode="bicubic")
    ids = torch.full((171, 16), 49407)
    ids[:, 0] = 49406
    ids[:, 1:5] = torch.randint(1000, 40000, (171, 4))
    with torch.no_grad():
        def patches(m, x):
            v = m.vision_model(x)
            tokens = m.vision_model.post_layernorm(v.last_hidden_state[:, 1:])
            return m.visual_projection(tokens)

        f = patches(model, pixels)
        text = model.text_projection(model.text_model(ids).pooler_output)
        text = text / text.norm(dim=-1, keepdim=True)
        unit = f / f.norm(dim=-1, keepdim=True)
        side = round(unit.shape[1] ** 0.5)
        cosine = (unit @ text.T).reshape(1, side, side, -1).permute(0, 3, 1, 2)
        labels = torch.nn.functional.interpolate(cosine, size=(size, size), mode="bilinear").argmax(1)[0]
        torch.set_num_threads(1)
        seconds = {}
        for name, m, x in (("fp32", model, pixels), ("bf16", None, None)):
            if name == "bf16":
                m, x = CLIPModel.from_pretrained(folder, attn_implementation="sdpa").to(torch.bfloat16).eval(), pixels.to(torch.bfloat16)
            runs = []
            for _ in range(7):
                start = time.perf_counter()
                g = patches(m, x)
                runs.append(time.perf_counter() - start)
            seconds[name] = sorted(runs)[3]
            if name == "bf16":
                error = ((g.float() - f).norm() / f.norm()).item()
        print({"torch": torch.__version__, "threads": 1, "median seconds": seconds, "bf16 relative L2 of torch itself": error})
    save_file({"pixel_values": pixels.contiguous(), "input_ids": ids.to(torch.int32), "projected_patches": f.contiguous(),
               "text_embeds": text.contiguous(), "labels": labels.to(torch.int32).contiguous()}, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--make", choices=list(SIZES))
    parser.add_argument("folder")
    parser.add_argument("out", nargs="?")
    args = parser.parse_args()
    if args.make:
        make(args.make, args.folder)
    else:
        reference(args.folder, args.out)
