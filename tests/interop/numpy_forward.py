"""Logits of a checkpoint in NumPy, written from docs/formats.md alone: it shares nothing with the program but the files.

usage: numpy_forward.py CHECKPOINT ID...          writes (tokens, vocabulary) f32 to standard output, as dump_logits does
       numpy_forward.py --against DUMP_LOGITS PROGRAM   trains small models of all kinds with PROGRAM and compares
       numpy_forward.py --classifiers DUMP_SCORES TEST_CLASSIFIERS PROGRAM   tunes the latter's classifiers and compares"""
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import numpy as np


class Checkpoint:
    def __init__(self, folder):
        folder = pathlib.Path(folder)
        self.model = json.loads((folder / "model.json").read_text())
        data = (folder / "model.safetensors").read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8:8 + size])
        self.tensor = {}
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = (8 + size + at for at in entry["data_offsets"])
                values = np.frombuffer(data[begin:end], "<f4").astype(np.float64)
                self.tensor[name] = values.reshape(entry["shape"])
        self.weight = {w["name"]: w for w in self.model["weights"]}
        if self.model["kind"] == "encoder-decoder" or self.model["gates"]:
            sys.exit("this script reads decoders and encoders without gates")
        missing = [t["name"] for t in self.model["tensors"] if t["name"] not in self.tensor]
        if missing:
            sys.exit(f"{missing[0]} is not stored: it is the base model's")

    def matrix(self, name):
        w, total = self.weight[name], 0.0
        for term in w["terms"]:
            operands = [self.tensor[o["tensor"]][:o.get("rows")].reshape(o["shape"]) for o in term["operands"]]
            labels = ",".join(o["labels"] for o in term["operands"]) + "->" + w["row"] + w["column"]
            total = total + term["scale"] * np.einsum(labels, *operands, optimize="greedy")
        total = total.reshape(w["padded_out"], w["in"])
        if "lengths" in w:
            total = total * (self.tensor[w["lengths"]] / np.sqrt((total ** 2).sum(-1) + 1e-30))[:, None]
        return total[:w["out"]]

    def linear(self, x, name):
        y = x @ self.matrix(name).T
        return y + self.tensor[name + ".bias"] if name + ".bias" in self.tensor else y

    def norm(self, x, weight, bias=None):
        eps = self.model["norm"]["eps"]
        if bias is None:
            return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * self.tensor[weight]
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * self.tensor[weight] + self.tensor[bias]

    def block_norm(self, x, name):
        return self.norm(x, name + ".weight", name + ".bias" if self.model["norm"]["kind"] == "layernorm" else None)

    def angles(self, time):
        p, half = self.model["positions"], self.model["head_dim"] // 2
        rate = p["base"] ** (-np.arange(half) / half)
        s = p["scaling"]
        if s and s["kind"] == "linear":
            rate = rate / s["factor"]
        elif s:
            turns = s["original_context"] * rate / (2 * math.pi)
            keep = np.clip((turns - s["low"]) / (s["high"] - s["low"]), 0, 1)
            rate = (1 - keep) * rate / s["factor"] + keep * rate
        return np.arange(time)[:, None] * rate[None, :]

    def rotate(self, x):  # (time, heads, head_dim)
        half, angle = x.shape[-1] // 2, self.angles(len(x))[:, None, :]
        a, b = x[..., :half], x[..., half:]
        return np.concatenate((a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)), -1)

    def attention(self, x, block):
        m, time = self.model, len(x)
        q = self.linear(x, block + ".attn.q").reshape(time, m["heads"], -1)
        k = self.linear(x, block + ".attn.k").reshape(time, m["kv_heads"], -1)
        v = self.linear(x, block + ".attn.v").reshape(time, m["kv_heads"], -1)
        if m["qk_norm"]:
            q, k = self.norm(q, block + ".attn.q_norm"), self.norm(k, block + ".attn.k_norm")
        if m["positions"]["kind"] == "rotary":
            q, k = self.rotate(q), self.rotate(k)
        group = m["heads"] // m["kv_heads"]
        k, v = np.repeat(k, group, 1), np.repeat(v, group, 1)
        scores = np.einsum("thd,shd->hts", q, k) / math.sqrt(m["head_dim"])
        if self.model["kind"] == "decoder":
            scores = np.where(np.tril(np.ones((time, time), bool)), scores, -np.inf)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hts,shd->thd", scores / scores.sum(-1, keepdims=True), v)
        return self.linear(mixed.reshape(time, -1), block + ".attn.o")

    def mlp(self, x, block):
        kind, up = self.model["activation"], self.linear(x, block + ".mlp.up")
        if kind == "swiglu":
            gate = self.linear(x, block + ".mlp.gate")
            up = gate / (1 + np.exp(-gate)) * up
        elif kind == "silu":
            up = up / (1 + np.exp(-up))
        elif kind == "relu":
            up = np.maximum(up, 0)
        elif kind == "gelu":
            up = 0.5 * up * (1 + np.vectorize(math.erf)(up / math.sqrt(2)))
        else:
            up = 0.5 * up * (1 + np.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up ** 3)))
        return self.linear(up, block + ".mlp.down")

    def adapted(self, y, part):
        if "adapter" not in self.model:
            return y
        return y + self.linear(np.maximum(self.linear(y, part + ".adapter.down"), 0), part + ".adapter.up")

    def body(self, ids, types):
        x = self.matrix("tok_emb")[ids]
        if self.model["positions"]["kind"] == "learned":
            x = x + self.tensor["pos_emb.weight"][:len(ids)]
        if "type_emb.weight" in self.tensor:
            x = x + self.tensor["type_emb.weight"][types]
        if self.model["kind"] == "encoder":
            x = self.block_norm(x, "norm_emb")
        for layer in range(self.model["layers"]):
            block = f"blocks.{layer}"
            if self.model["norm"]["position"] == "post":
                x = self.block_norm(x + self.adapted(self.attention(x, block), block + ".attn"), block + ".norm1")
                x = self.block_norm(x + self.adapted(self.mlp(x, block), block + ".mlp"), block + ".norm2")
                continue
            x = x + self.adapted(self.attention(self.block_norm(x, block + ".norm1"), block), block + ".attn")
            x = x + self.adapted(self.mlp(self.block_norm(x, block + ".norm2"), block), block + ".mlp")
        return x if self.model["kind"] == "encoder" else self.block_norm(x, "norm_f")

    def logits(self, ids):
        head = "tok_emb" if self.model["tied_head"] else "head"
        return self.body(ids, None) @ self.matrix(head).T

    def scores(self, ids, types):
        c = self.model["classifier"]
        h = self.body(ids, types)[0 if c["token"] == "first" else -1]
        return self.linear(np.tanh(self.linear(h, "pooler")) if c["pooler"] else h, "classifier")


CASES = ("--linear tt --rank 4", "--linear ttm --rank 3 --embedding tt-embedding --tied-head true",
         "--arch llama --kv-heads 2 --linear lowrank --rank 3 --act swiglu --rope-base 500",
         "--arch llama --qk-norm true --linear dense --rope-scaling llama3 --rope-factor 4 --rope-low 1 --rope-high 4"
         " --rope-context 16", "--act silu --norm rmsnorm --pos rope --bias qkv --linear lora --rank 2",
         "--act relu --linear loretta-rep", "--linear tt-lora --rank 3 --norm-eps 1e-3 --head-dim 12", "--linear dota --rank 2",
         "--linear lora --rank 2 --use-dora true", "--linear loretta-adp --adapter-size 8 --rank 3",
         "--arch llama --kv-heads 2 --linear lorta --rank 6")


def compare(dump, program):
    worst = 0.0
    with tempfile.TemporaryDirectory() as place:
        text = pathlib.Path(place) / "text.txt"
        text.write_text("".join(f"{n} trains, {n * n % 97} cores and {n % 7} ranks\n" for n in range(400)))
        for number, case in enumerate(CASES):
            run = pathlib.Path(place) / f"run{number}"
            words = (f"{program} train --text {text} --level byte --layers 2 --d-model 32 --heads 4 --context 32 --batch-size 4 "
                     f"--max-steps 20 --reg none --select none --device cpu --quiet --out {run} {case}").split()
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            newest = sorted((run / "checkpoints").iterdir())[-1]
            ids = list(b"7 trains, 49 cores and 0")
            theirs = Checkpoint(newest).logits(ids)
            ours = subprocess.run([dump, run, "cpu", *map(str, ids)], check=True, stdout=subprocess.PIPE).stdout
            ours = np.frombuffer(ours, "<f4").reshape(len(ids), -1)
            error = np.abs(ours - theirs).max() / np.abs(theirs).max()
            worst = max(worst, error)
            print(f"{error:.1e}  {case}")
    print(f"{len(CASES)} models, largest relative error {worst:.1e}")
    return int(worst > 1e-5)


def compare_classifiers(dump, models, program):
    worst = 0.0
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        subprocess.run([models, "--write", place], check=True)
        lines = place / "lines.jsonl"
        for name in ("bert", "roberta", "llama"):
            run = place / f"{name}-run"
            words = (f"{program} finetune --base {place / name} --data {lines} --valid-examples {lines} --method dense --context 12 "
                     f"--batch-size 2 --max-steps 20 --device cpu --quiet --out {run}").split()
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            theirs = Checkpoint(sorted((run / "checkpoints").iterdir())[-1])
            ours = subprocess.run([dump, run, "cpu", lines, "12"], check=True, stdout=subprocess.PIPE, text=True).stdout
            for line in map(json.loads, ours.splitlines()):
                scores = theirs.scores(line["ids"], line["types"])
                error = np.abs(scores - line["scores"]).max() / np.abs(scores).max()
                worst = max(worst, error)
                print(f"{error:.1e}  {name}, {len(line['ids'])} tokens")
    print(f"classifiers: largest relative error {worst:.1e}")
    return int(worst > 1e-5)


if __name__ == "__main__":
    if len(sys.argv) == 5 and sys.argv[1] == "--classifiers":
        sys.exit(compare_classifiers(*sys.argv[2:]))
    if len(sys.argv) == 4 and sys.argv[1] == "--against":
        sys.exit(compare(sys.argv[2], sys.argv[3]))
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.stdout.buffer.write(Checkpoint(sys.argv[1]).logits([int(i) for i in sys.argv[2:]]).astype("<f4").tobytes())
