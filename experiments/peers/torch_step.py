#!/usr/bin/python3
"""One full training step of a small GPT in PyTorch, timed: the peer of `dart-llm bench --test step`; with --layer one
linear layer forward and backward (gradients of its input and of what is trained), the peer of `bench --test contract`.
Methods: dense; half (tensor train, both halves merged first); core (tensor train, core by core).
Attention is `scaled_dot_product_attention`, AdamW is fused. Prints one JSON line a method: seconds of each measured step, tokens,
parameters, loss, the most memory that was resident (of the whole process: one method a process to tell it)."""
import argparse
import json
import math
import resource
import time

import torch
import torch.nn.functional as F
from torch import nn


def modes(n, count=3):
    """n as `count` factors, as even as possible, ascending (256 -> 4, 8, 8)."""
    best = None
    def split(rest, left, so_far):
        nonlocal best
        if left == 1:
            if rest >= so_far[-1] if so_far else True:
                candidate = so_far + [rest]
                if best is None or max(candidate) - min(candidate) < max(best) - min(best):
                    best = candidate
            return
        start = so_far[-1] if so_far else 2
        for f in range(start, int(round(rest ** (1 / left))) + 1):
            if rest % f == 0:
                split(rest // f, left - 1, so_far + [f])
    split(n, count, [])
    if best is None:
        raise SystemExit(f"{n} does not split into {count} factors")
    return best


class TensorTrain(nn.Module):
    """y = x W^T + b with W (out x in) a tensor train: three cores of output digits, then three of input digits."""

    def __init__(self, n_in, n_out, rank, order):
        super().__init__()
        self.order, self.out_modes, self.in_modes = order, modes(n_out), modes(n_in)
        dims = self.out_modes + self.in_modes
        ranks = [1]
        for k in range(1, len(dims)):
            ranks.append(min(rank, math.prod(dims[:k]), math.prod(dims[k:])))
        ranks.append(1)
        # Entries of W get variance 1/(3 n_in): the product of core variances times the number of rank paths.
        paths = math.prod(ranks[1:-1])
        std = (1 / (3 * n_in) / paths) ** (1 / (2 * len(dims)))
        self.cores = nn.ParameterList(
            nn.Parameter(torch.randn(ranks[k], d, ranks[k + 1]) * std) for k, d in enumerate(dims))
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x):
        lead = x.shape[:-1]
        rows = x.reshape(-1, x.shape[-1])
        a, b, c, d, e, f = self.cores
        if self.order == "half":
            left = (a.reshape(-1, a.shape[2]) @ b.reshape(b.shape[0], -1)).reshape(-1, b.shape[2])
            left = (left @ c.reshape(c.shape[0], -1)).reshape(-1, c.shape[2])  # (out, r)
            right = (d.reshape(-1, d.shape[2]) @ e.reshape(e.shape[0], -1)).reshape(-1, e.shape[2])
            right = (right @ f.reshape(f.shape[0], -1)).reshape(d.shape[0], -1)  # (r, in)
            y = (rows @ right.t()) @ left.t()
        else:
            t = rows.reshape(-1, *self.in_modes)
            t = torch.einsum("tijk,ckz->tijc", t, f)
            t = torch.einsum("tijc,bjc->tib", t, e)
            t = torch.einsum("tib,aib->ta", t, d)
            t = torch.einsum("qkp,tp->tkq", c, t)
            t = torch.einsum("rjq,tkq->tjkr", b, t)
            t = torch.einsum("zir,tjkr->tijk", a, t)
            y = t.reshape(rows.shape[0], -1)
        return (y + self.bias).reshape(*lead, -1)


class Block(nn.Module):
    def __init__(self, width, heads, linear):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (linear(width, width) for _ in range(4))
        self.up, self.down = linear(width, 4 * width), linear(4 * width, width)

    def forward(self, x):
        batch, time_, width = x.shape
        h = self.norm1(x)
        q, k, v = (f(h).view(batch, time_, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, time_, width)
        x = x + self.o(h)
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self, args, linear):
        super().__init__()
        self.tokens = nn.Embedding(args.vocab, args.width)
        self.positions = nn.Embedding(args.context, args.width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(args.width, args.heads, linear) for _ in range(args.layers))
        self.norm = nn.LayerNorm(args.width)
        self.head = nn.Linear(args.width, args.vocab, bias=False)
        if args.tied:
            self.head.weight = self.tokens.weight

    def forward(self, tokens):
        x = self.tokens(tokens) + self.positions.weight
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def training(args, linear):
    """A function that makes one step and gives its loss, and the number of parameters."""
    model = GPT(args, linear)
    forward = torch.compile(model) if args.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.1, fused=True)

    def step():
        tokens = torch.randint(args.vocab, (args.batch, args.context + 1))
        begin = time.perf_counter()
        loss = F.cross_entropy(forward(tokens[:, :-1]).reshape(-1, args.vocab), tokens[:, 1:].reshape(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        value = loss.item()
        return time.perf_counter() - begin, value
    return step, sum(p.numel() for p in model.parameters())


def one_layer(args, linear):
    layer = linear(*args.layer)
    forward = torch.compile(layer) if args.compile else layer
    x = torch.randn(args.batch * args.context, args.layer[0], requires_grad=True)
    dy = torch.randn(args.batch * args.context, args.layer[1])

    def step():
        layer.zero_grad(set_to_none=True)
        x.grad = None
        begin = time.perf_counter()
        y = forward(x)
        y.backward(dy)
        return time.perf_counter() - begin, y[0, 0].item()
    return step, sum(p.numel() for p in layer.parameters())


def measure(method, args):
    torch.manual_seed(args.seed)
    linear = nn.Linear if method == "dense" else lambda i, o: TensorTrain(i, o, args.rank, method)
    step, parameters = (one_layer if args.layer else training)(args, linear)
    for _ in range(args.warmup):
        step()
    runs = [step() for _ in range(args.steps)]
    print(json.dumps({
        "method": method, "seconds": [seconds for seconds, _ in runs], "tokens": args.batch * args.context,
        "loss": runs[-1][1], "parameters": parameters, "torch": torch.__version__,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("layers", 4), ("width", 256), ("heads", 4), ("context", 128), ("batch", 8),
                        ("vocab", 10000), ("rank", 16), ("steps", 5), ("warmup", 2), ("threads", 2), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--tied", action="store_true", help="the head is the token embedding")
    parser.add_argument("--compile", action="store_true", help="with torch.compile")
    parser.add_argument("--layer", type=int, nargs=2, metavar=("IN", "OUT"), help="one linear layer instead of a GPT")
    parser.add_argument("--check", action="store_true", help="compare both tensor-train orders with the dense product")
    parser.add_argument("methods", nargs="*", default=["dense", "half", "core"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    if args.check:
        layer, x = TensorTrain(256, 1024, 16, "half").double(), torch.randn(5, 256).double()
        half = layer(x)
        layer.order = "core"
        error = ((half - layer(x)).norm() / half.norm()).item()
        print(f"half/half against core by core: {error:.1e}")
        raise SystemExit(0 if error < 1e-12 else 1)
    for method in args.methods:
        measure(method, args)


main()
