"""Ten steps of PyTorch's optimisers on random parameters and gradients, and its losses, for test/parity/optim.ts.

    python test/parity/optim_reference.py OUT.safetensors

Values are f32, computed in f64 where PyTorch can (its Muon multiplies in bf16 whatever it is given). Names: start.NAME,
grad.STEP.NAME, KIND.NAME for what the optimiser KIND made of NAME; loss.input.*, loss.KIND. Needs torch and safetensors;
nothing of the package or its tests does.
"""
import argparse
import math

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

SHAPES = {"weight": (48, 16), "wide": (16, 48), "bias": (48,), "gate": ()}
STEPS = 10
OPTIMISERS = {
    "adamw": lambda p: torch.optim.AdamW(list(p.values()), lr=1e-2, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.05),
    "sgd": lambda p: torch.optim.SGD(list(p.values()), lr=0.05, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: torch.optim.SGD(list(p.values()), lr=0.05, momentum=0.9, weight_decay=0.01, nesterov=True),
    "muon": lambda p: torch.optim.Muon([p["weight"], p["wide"]], lr=1e-2, weight_decay=0.1, momentum=0.95, nesterov=True,
                                       adjust_lr_fn="match_rms_adamw"),
}


def optimisers(out):
    torch.manual_seed(0)
    start = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    grads = [{name: 0.3 * torch.randn(shape) for name, shape in SHAPES.items()} for _ in range(STEPS)]
    out.update({f"start.{name}": value for name, value in start.items()})
    out.update({f"grad.{step}.{name}": value for step, found in enumerate(grads) for name, value in found.items()})
    for kind, make in OPTIMISERS.items():
        parameters = {name: torch.nn.Parameter(value.double()) for name, value in start.items()}
        optimiser = make(parameters)
        for step in range(STEPS):
            for name, parameter in parameters.items():
                parameter.grad = grads[step][name].double()
            optimiser.step()
        out.update({f"{kind}.{name}": value.detach().float() for name, value in parameters.items()})
    norm = torch.nn.utils.get_total_norm([value.double() for value in grads[0].values()])
    out["norm"] = norm.float().reshape(1)


def losses(out):
    z, t, a, b = (torch.randn(12, 20) for _ in range(4))
    y = torch.rand(12, 20)
    out.update({"loss.input.z": z, "loss.input.t": t, "loss.input.a": a, "loss.input.b": b, "loss.input.y": y})
    z, t, a, b, y = (x.double() for x in (z, t, a, b, y))
    log_p, log_q = F.log_softmax(t / 2, -1), F.log_softmax(z / 2, -1)
    similarity = F.normalize(a) @ F.normalize(b).T / 0.07
    diagonal = torch.arange(12)
    values = {
        "binaryCrossEntropy": F.binary_cross_entropy_with_logits(z, y, pos_weight=torch.tensor(3.0).double()),
        "smoothL1": F.smooth_l1_loss(z, t, beta=0.7),
        "kullbackLeibler": F.kl_div(log_q, log_p, log_target=True, reduction="batchmean") * 4,
        "triplet": F.triplet_margin_with_distance_loss(a, b, t, margin=0.5, distance_function=lambda u, v: 1 - F.cosine_similarity(u, v)),
        "infoNce": (F.cross_entropy(similarity, diagonal) + F.cross_entropy(similarity.T, diagonal)) / 2,
    }
    out.update({f"loss.{name}": value.float().reshape(1) for name, value in values.items()})


def schedules(out):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=2.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 90, eta_min=0.5)
    rates = []
    for _ in range(91):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        cosine.step()
    out["cosine"] = torch.tensor(rates)
    out["poly"] = torch.tensor([2.0 * math.pow(1 - step / 90, 0.9) for step in range(91)])


parser = argparse.ArgumentParser()
parser.add_argument("out")
tensors = {}
optimisers(tensors)
losses(tensors)
schedules(tensors)
save_file({name: value.contiguous() for name, value in tensors.items()}, parser.parse_args().out)
print("torch", torch.__version__)
