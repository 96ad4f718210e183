"""EVA: directions, ranks and scales that our first step begins with, against PEFT on the same inputs.

usage: eva.py DART_LLM [--work FOLDER]
Random llama models whose layers' inputs spread differently; PEFT measures the one window of text that ours measures.
Needs torch, transformers, peft, tokenizers, safetensors, numpy."""
import argparse
import json
import pathlib
import random
import re
import sys
import tempfile

import numpy as np
import peft
import safetensors.numpy
import tokenizers
import torch
import transformers
from peft.tuners.lora import eva
from peft.utils.incremental_pca import IncrementalPCA

import export
import logits

RANK, ALPHA, CONTEXT = 4, 6, 1024


def uneven_model(config):
    """The columns of a norm's weights span more and more in later layers, so that ranks have somewhere to go."""
    model = logits.random_model(config)
    torch.manual_seed(2)
    with torch.no_grad():
        for i, layer in enumerate(model.model.layers):
            for norm in (layer.input_layernorm, layer.post_attention_layernorm):
                norm.weight.copy_(torch.exp(torch.randn_like(norm.weight) * (2.5 - i)))
    return model


def by_peft(base, ids, rho):
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    settings = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, init_lora_weights="eva", task_type="CAUSAL_LM",
                               target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
                               eva_config=peft.EvaConfig(rho=rho, tau=0.9999))
    adapted = peft.get_peft_model(model, settings)
    batch = dict(input_ids=ids, attention_mask=torch.ones_like(ids))
    # with all singular values; its own way, a randomized SVD with as many vectors as are wanted, misses some by far
    eva.IncrementalPCA = lambda n_components, **more: IncrementalPCA(n_components=n_components)
    state = eva.get_eva_state_dict(adapted, [batch], show_progress_bar=False)
    peft.tuners.lora.initialize_lora_eva_weights(adapted, eva_state_dict=dict(state), show_progress_bar=False)
    scales = {name: module.scaling["default"] for name, module in adapted.named_modules()
              if isinstance(module, peft.tuners.lora.LoraLayer)}
    short = lambda name: name.replace("base_model.model.", "")
    return {short(name): a.numpy() for name, a in state.items()}, {short(name): s for name, s in scales.items()}


def by_us(program, base, text, folder, rho):
    export.run(program, "finetune", "--base", base, "--text", text, "--method", "lora", "--rank", RANK, "--lora-alpha", ALPHA, "--lora-init", "eva", "--eva-rho", rho, "--input-batches",
               1, "--batch-size", 1, "--context", CONTEXT, "--max-steps", 1, "--learning-rate", "1e-20", "--device", "cpu",
               "--out", folder, "--quiet")
    export.run(program, "export", folder, "--format", "peft", "--out", folder / "peft")
    tensors = safetensors.numpy.load_file(folder / "peft" / "adapter_model.safetensors")
    settings = json.loads((folder / "peft" / "adapter_config.json").read_text())
    a = {name.replace("base_model.model.", "").replace(".lora_A.weight", ""): value
         for name, value in tensors.items() if "lora_A" in name}
    for name, value in a.items():
        pattern = [rank for key, rank in settings["rank_pattern"].items() if name.endswith(key)]
        assert value.shape[0] == (pattern[0] if pattern else settings["r"])
    return a


def apart(theirs, ours):
    """How far ranks differ; which of the weights that read the same gets the last rank is chance in PEFT."""
    groups = {}
    for name in ours:
        group = re.sub("(q|k|v)_proj", "qkv", re.sub("(gate|up)_proj", "gate_up", name))
        groups.setdefault(group, ([], []))
        groups[group][0].append(theirs[name].shape[0])
        groups[group][1].append(ours[name].shape[0])
    return sum(abs(a - b) for left, right in groups.values() for a, b in zip(sorted(left), sorted(right)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dart", type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path)
    given = parser.parse_args()
    cases = failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or pathlib.Path(scratch)
        base, text = work / "base", work / "text"
        text.mkdir(parents=True, exist_ok=True)
        config = dict(logits.configs())["llama"]
        config.max_position_embeddings = CONTEXT
        uneven_model(config).save_pretrained(base)
        logits.byte_tokenizer(base)
        chance = random.Random(1)
        letters = "".join(chance.choice("abcdefgh ") for _ in range(CONTEXT + 1))
        for name in ("train", "valid", "test"):
            (text / f"{name}.txt").write_text(letters)
        ids = tokenizers.Tokenizer.from_file(str(base / "tokenizer.json")).encode(letters).ids
        assert len(ids) == CONTEXT + 1  # one window, which cannot be shifted
        ids = torch.tensor([ids[:CONTEXT]])
        for rho in (1, 1.5, 2, 4):
            theirs, scales = by_peft(base, ids, rho)
            ours = by_us(given.dart, base, text, work / f"rho-{rho}", rho)
            away = apart(theirs, ours)
            least = min(len(value) for value in theirs.values())
            total = sum(value.shape[0] for value in ours.values())
            ranks = sorted(value.shape[0] for value in ours.values())
            cosine = min(float(abs((theirs[name][0] * ours[name][0]).sum())) for name in ours if len(theirs[name]))
            even = max(abs(scale - ALPHA / RANK) for scale in scales.values())
            cases += 1
            failed += not (away == 0 and least > 0 and total == RANK * len(ours) and cosine > 0.999 and even < 1e-6)
            print(f"rho {rho}: {len(ours)} weights, ranks {ranks[0]} to {ranks[-1]}, {total} in all, {away} apart from PEFT's; "
                  f"first directions' cosine {cosine:.5f}; PEFT's scales stay alpha / r within {even:.0e}")
    print(f"eva: {cases} cases, {failed} failed")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
