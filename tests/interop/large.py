"""What a model of the size of TinyLlama needs: a Hugging Face folder with random weights, steps of fine-tuning, peak memory.

usage: large.py DART_LLM [--work FOLDER] [--layers N] [--only NAME,...] [--smol MODEL.gguf] [--device ID]
  DART_LLM  build/dart-llm
  --work    where the model is written (2.2 GB with 22 layers; it stays for the next run) and the runs are
  --layers  fewer for a device that is slow; the widths stay
  --only    some of f16-lora, f16-tt-lora, nf4-lora, nf4-tt-lora (cpu), floor (128 MiB bindings, 1 GiB buffers), full (as
            floor, everything trained: only when named), smol-cpu, smol-opencl
  --smol    SmolLM2-135M-Instruct as GGUF: with Q8_0 under emu-pi4, at most 700 MiB
  --device  of floor, full and smol (opencl:0)

Each check prints the plan that the program prints, the seconds, and the peak of resident memory of the process (VmHWM, which
counts pages of mapped files too) beside its bound. Needs numpy, and 8 GiB of memory: one check at a time."""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import numpy

GIB = 1 << 30
SHAPE = dict(hidden_size=2048, intermediate_size=5632, num_attention_heads=32, num_key_value_heads=4, vocab_size=32000)
STEP = ["--context", "128", "--batch-size", "1", "--max-steps", "1", "--eval-selections", "false"]


def alphabet():
    """The 256 characters of byte-level vocabularies (GPT-2)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(len(rest))]


def write_tokenizer(folder, vocab):
    tokens = alphabet()
    tokens += [f"token{i}" for i in range(vocab - len(tokens))]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
             "vocab": {token: i for i, token in enumerate(tokens)}, "merges": []}
    text = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
            "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level, "model": model}
    (folder / "tokenizer.json").write_text(json.dumps(text))


def tensors(layers):
    width, hidden, vocab = SHAPE["hidden_size"], SHAPE["intermediate_size"], SHAPE["vocab_size"]
    narrow = width // SHAPE["num_attention_heads"] * SHAPE["num_key_value_heads"]
    yield "model.embed_tokens.weight", (vocab, width)
    for i in range(layers):
        at = f"model.layers.{i}."
        yield at + "input_layernorm.weight", (width,)
        yield at + "post_attention_layernorm.weight", (width,)
        for name, rows in ("q", width), ("k", narrow), ("v", narrow), ("o", width):
            yield f"{at}self_attn.{name}_proj.weight", (rows, width)
        yield at + "mlp.gate_proj.weight", (hidden, width)
        yield at + "mlp.up_proj.weight", (hidden, width)
        yield at + "mlp.down_proj.weight", (width, hidden)
    yield "model.norm.weight", (width,)
    yield "lm_head.weight", (vocab, width)


def write_model(folder, layers):
    """f16, one tensor after the other: no more of it is in memory."""
    if (folder / "tokenizer.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    config = dict(SHAPE, architectures=["LlamaForCausalLM"], model_type="llama", num_hidden_layers=layers,
                  hidden_act="silu", max_position_embeddings=2048, rms_norm_eps=1e-5, rope_theta=10000.0,
                  tie_word_embeddings=False, torch_dtype="float16", bos_token_id=None, eos_token_id=None)
    (folder / "config.json").write_text(json.dumps(config))
    head, at = {}, 0
    for name, shape in tensors(layers):
        size = 2 * int(numpy.prod(shape))
        head[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    draw = numpy.random.default_rng(1)
    with open(folder / "model.safetensors", "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for name, shape in tensors(layers):
            values = numpy.ones(shape) if len(shape) == 1 else draw.standard_normal(shape, dtype=numpy.float32)
            out.write((values * (1 if len(shape) == 1 else 0.02)).astype(numpy.float16).tobytes())
    write_tokenizer(folder, SHAPE["vocab_size"])


def run(command, environment=None):
    """Exit status, output, seconds, peak resident bytes."""
    begin = time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen([str(c) for c in command], stdout=log, stderr=subprocess.STDOUT,
                                 env=dict(os.environ, **(environment or {})))
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        return child.returncode, log.read(), time.monotonic() - begin, usage.ru_maxrss * 1024


def checks(args, base, text):
    """Name, options, bound of resident memory in bytes (None: none), device and profile."""
    base_options = ["--base", base, "--text", text, "--rank", 8]
    for kind in "f16", "nf4":
        for method in "lora", "tt-lora":
            yield (f"{kind}-{method}", [*base_options, "--base-dtype", kind, "--method", method],
                   (8 if kind == "f16" else 4) * GIB, "cpu", "")
    yield ("floor", [*base_options, "--base-dtype", "f16", "--method", "lora"], None, args.device, "emu-floor")
    yield ("full", [*base_options, "--method", "dense"], None, args.device, "emu-floor")
    if args.smol:
        for device in "cpu", args.device:
            yield (f"smol-{device.split(':')[0]}", ["--base", args.smol, "--text", text, "--base-dtype", "q8_0",
                                                   "--method", "tt-lora"], 700 << 20, device, "emu-pi4")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--work", default="/tmp/dart-large")
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--only", default="")
    parser.add_argument("--smol")
    parser.add_argument("--device", default="opencl:0")
    args = parser.parse_args()
    work = pathlib.Path(args.work)
    base = work / f"llama-{args.layers}"
    write_model(base, args.layers)
    text = work / "text"
    text.mkdir(exist_ok=True)
    for split in ("train", "valid", "test"):
        (text / f"{split}.txt").write_text("the company said it would not comment on it .\n" * 14)
    wanted, failed = [name for name in args.only.split(",") if name], []
    for name, options, bound, device, limits in checks(args, base, text):
        if wanted and name not in wanted or name == "full" and not wanted:
            continue
        place = ["--device", device] + (["--limits", limits] if limits else [])
        plan = [args.program, "inspect", "--what", "memory", *options, *STEP[:4], *place]
        plan = ["--linear" if word == "--method" else word for word in plan]
        status, said, _, _ = run(plan)
        print(f"== {name} on {device} {limits}\n{said.strip()}", flush=True)
        out = work / f"run-{name}"
        shutil.rmtree(out, ignore_errors=True)
        if status == 0:
            status, said, seconds, peak = run([args.program, "finetune", *options, *STEP, *place, "--out", out])
            loss = re.search(r"final loss ([0-9.]+)", said)
            print(f"exit {status}, {seconds:.0f} s, peak {peak / (1 << 20):.0f} MiB of "
                  f"{'any' if bound is None else bound >> 20} MiB, loss {loss.group(1) if loss else said[-400:]}", flush=True)
            status = status or int(not loss) or int(bound is not None and peak > bound)
        shutil.rmtree(out, ignore_errors=True)
        if status:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
