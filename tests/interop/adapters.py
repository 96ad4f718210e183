"""LoRA adapters that PEFT saved, beside small random models of every architecture: logits equal PEFT's, also of several
at once, after training on, and when they are written again.

usage: adapters.py DART_LLM DUMP_LOGITS [--devices cpu,vulkan:0,opencl:0] [--work FOLDER]
       adapters.py --golden FOLDER   makes the files that tests/core/store/test_with_adapters.c reads

Needs torch, transformers, peft, tokenizers, numpy."""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import peft
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import export
import logits

BASES = ("llama", "llama-tied", "mistral", "qwen2", "qwen3", "gpt2")


def variants(gpt):
    """Names and settings; of GPT-2 the module of queries, keys and values is one."""
    attention, mlp = (["c_attn"], ["c_fc", "attn.c_proj"]) if gpt else (["q_proj", "v_proj"], ["up_proj", "down_proj"])
    layer = "transformer.h.1.mlp.c_fc" if gpt else "model.layers.1.mlp.up_proj"
    yield "plain", dict(r=4, lora_alpha=8, target_modules=attention)
    yield "patterns", dict(r=3, lora_alpha=7, target_modules=attention + mlp, use_rslora=True,
                           rank_pattern={attention[0]: 5, layer: 2}, alpha_pattern={layer: 11, mlp[1]: 3})
    yield "layers", dict(r=2, lora_alpha=1, target_modules=attention + mlp[:1], layers_to_transform=[0, 2])
    yield "wide", dict(r=70, lora_alpha=16, target_modules=attention)  # above the rank of any of the matrices


def save_adapter(base, folder, settings, seed, dtype=torch.float32):
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    gpt = model.config.model_type == "gpt2"
    adapted = peft.get_peft_model(model, peft.LoraConfig(**settings, fan_in_fan_out=gpt, task_type="CAUSAL_LM"))
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_((0.2 * torch.randn_like(parameter)).to(dtype).float())
    adapted.eval().save_pretrained(folder)


def adapted_logits(base, *adapters):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")
        return logits_by_peft(base, *adapters)


def logits_by_peft(base, *adapters):
    """adapters: folders, or (folder, scale)."""
    model = transformers.AutoModelForCausalLM.from_pretrained(base).eval()
    expected = None
    for number, adapter in enumerate(adapters):
        folder, scale = adapter if isinstance(adapter, tuple) else (adapter, 1.0)
        if number == 0:
            expected = peft.PeftModel.from_pretrained(model, folder, adapter_name="a0").eval()
        else:
            expected.load_adapter(folder, adapter_name=f"a{number}")
        for module in expected.modules():
            if isinstance(module, peft.tuners.lora.LoraLayer) and f"a{number}" in module.scaling:
                module.scaling[f"a{number}"] *= scale
    expected.base_model.set_adapter([f"a{number}" for number in range(len(adapters))])
    return logits.logits_of(expected, logits.IDS)


def ours(program, path, device, adapter=None):
    words = ["--adapter", adapter] if adapter else []
    done = subprocess.run([program, *words, str(path), device, *map(str, logits.IDS)], capture_output=True)
    if done.returncode:
        sys.exit(f"{adapter}: {done.stderr.decode()}")
    return np.frombuffer(done.stdout, np.float32).reshape(len(logits.IDS), -1)


def check(given, work, base):
    gpt = base.name == "gpt2"
    plain = ours(given.dump, base, "cpu")
    for seed, (name, settings) in enumerate(variants(gpt)):
        save_adapter(base, work / f"{base.name}-{name}", settings, seed)
    one, other = work / f"{base.name}-plain", work / f"{base.name}-patterns"
    lists = {name: (f"{work}/{base.name}-{name}", [work / f"{base.name}-{name}"]) for name, _ in variants(gpt)}
    lists["two"] = (f"{one}=0.5,{other}", [(one, 0.5), other])
    lists["negative"] = (f"{one}=-1.5", [(one, -1.5)])
    for name, (text, adapters) in lists.items():
        expected = adapted_logits(base, *adapters)
        for device in given.devices.split(","):
            value = export.error(ours(given.dump, base, device, text), expected)
            moved = export.error(plain, expected)
            yield f"{base.name}, {name}, {device}", value, moved
        # written again, and trained on: both read back by PEFT
        out = work / f"{base.name}-{name}-again"
        export.run(given.dart, "export", base, "--adapter", text, "--format", "peft", "--out", out, "--device", "cpu",
                   "--quiet")
        yield f"{base.name}, {name}, exported", export.error(adapted_logits(base, out), expected), moved
        tuned = work / f"{base.name}-{name}-tuned"
        export.run(given.dart, "finetune", "--base", base, "--adapter", text, "--data", work, "--max-steps", 3,
                   "--learning-rate", "1e-2", "--context", 32, "--device", "cpu", "--out", tuned, "--quiet")
        after = ours(given.dump, tuned, "cpu")
        export.run(given.dart, "export", tuned, "--format", "peft", "--out", tuned / "peft")
        yield (f"{base.name}, {name}, trained on", export.error(adapted_logits(base, tuned / "peft"), after),
               export.error(after, expected))
        # the run as an adapter of its base
        yield (f"{base.name}, {name}, the run beside its base",
               export.error(ours(given.dump, base, "cpu", str(tuned)), after), export.error(after, expected))


def golden(folder):
    """A model so small that it can be committed, an adapter with patterns, and the logits of both and of the model."""
    config = transformers.LlamaConfig(vocab_size=256, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                                      num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=32)
    base, adapter = folder / "base", folder / "adapter"
    logits.random_model(config).save_pretrained(base)
    (base / "generation_config.json").unlink()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(base / "tokenizer.json"), pretty=False)
    save_adapter(base, adapter, dict(r=3, lora_alpha=7, target_modules=["q_proj", "v_proj", "down_proj"], use_rslora=True,
                                     rank_pattern={"model.layers.1.self_attn.q_proj": 5}, alpha_pattern={"v_proj": 4}), 1)
    (adapter / "README.md").unlink(missing_ok=True)
    settings = json.loads((adapter / "adapter_config.json").read_text())
    settings["target_modules"].sort()  # it is a set
    settings["base_model_name_or_path"] = "base"
    (adapter / "adapter_config.json").write_text(json.dumps(settings, indent=1) + "\n")
    logits.IDS = [3, 17, 250, 4, 4, 99, 0, 211]
    whole = np.stack([adapted_logits(base, adapter),
                      logits.logits_of(transformers.AutoModelForCausalLM.from_pretrained(base).eval(), logits.IDS)])
    (folder / "logits.bin").write_bytes(whole.astype("<f4").tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dart", nargs="?")
    parser.add_argument("dump", nargs="?")
    parser.add_argument("--devices", default="cpu,vulkan:0,opencl:0")
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--bases", default=",".join(BASES))
    parser.add_argument("--golden", type=pathlib.Path)
    given = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    if given.golden:
        return golden(given.golden)
    cases = failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or pathlib.Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        export.examples(work)
        for name, config in logits.configs():
            if name not in given.bases.split(","):
                continue
            base = work / name
            logits.random_model(config).save_pretrained(base)
            logits.byte_tokenizer(base)
            for what, value, moved in check(given, work, base):
                cases += 1
                failed += not (value <= logits.BOUND < moved)
                print(f"{what}: largest error {value:.1e}; the adapter moved the logits by {moved:.1e}", flush=True)
    print(f"adapters: {cases} cases, {failed} failed")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
