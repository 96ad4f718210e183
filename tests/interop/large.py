"""What large models need on small devices: steps of training, peak memory, agreement of the devices.

usage: large.py DART_LLM [--work FOLDER] [--layers N] [--only NAME,...] [--smol MODEL.gguf] [--devices ID,...]
  DART_LLM   build/dart-llm
  --work     where the models are written (2.2 GB with 22 layers; they stay for the next run) and the runs are
  --layers   of the llama; fewer for a device that is slow, the widths stay
  --only     some of
               f16-lora, f16-tt-lora, nf4-lora, nf4-tt-lora: a llama of the widths of TinyLlama, cpu
               floor: the same under emu-floor (128 MiB bindings, 1 GiB buffers), on cpu and on each device
               full: as floor, everything trained (only when named)
               smol: SmolLM2-135M with a Q8_0 base under emu-pi4, TT-LoRA, at most 700 MiB, on cpu and on each device
               gpt2-tt, gpt2-lora: GPT-2 small under emu-pi4, gpt2-tt-floor, gpt2-dense (10 of its layers, as lavapipe has
               2 GiB): under emu-floor, where the table lies in several bindings; three steps on cpu and each device
  --smol     SmolLM2-135M-Instruct as GGUF
  --devices  of floor, full, smol, gpt2 (opencl:0,vulkan:0)

Each check prints the plan that the program prints, the seconds, and the peak of resident memory of the process (VmHWM, which
counts pages of mapped files too) beside its bound; on devices also how far loss and gradient are from cpu's (the gradient as
what AdamW's first step keeps of it). Bindings, buffers, work-groups are checked by the program, launch by launch, before a
step: one beyond the profile ends the run. Needs numpy, and 8 GiB of memory: one check at a time."""
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
MIB = 1 << 20
SHAPE = dict(hidden_size=2048, intermediate_size=5632, num_attention_heads=32, num_key_value_heads=4, vocab_size=32000)
STEP = ["--context", "128", "--batch-size", "1", "--max-steps", "1", "--eval-selections", "false"]
GPT2 = dict(n_embd=768, n_layer=12, n_head=12, n_positions=1024, vocab_size=50257)
LOSS_BOUND, GRADIENT_BOUND = 1e-5, 1e-4  # relative, against cpu


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


def gpt2_tensors():
    width, at = GPT2["n_embd"], "transformer."
    yield at + "wte.weight", (GPT2["vocab_size"], width)
    yield at + "wpe.weight", (GPT2["n_positions"], width)
    for i in range(GPT2["n_layer"]):
        for name, shape in (("attn.c_attn", (width, 3 * width)), ("attn.c_proj", (width, width)),
                            ("mlp.c_fc", (width, 4 * width)), ("mlp.c_proj", (4 * width, width))):
            yield f"{at}h.{i}.{name}.weight", shape
            yield f"{at}h.{i}.{name}.bias", shape[1:]
        for name in "ln_1", "ln_2":
            yield f"{at}h.{i}.{name}.weight", (width,)
            yield f"{at}h.{i}.{name}.bias", (width,)
    yield at + "ln_f.weight", (width,)
    yield at + "ln_f.bias", (width,)


def write_llama(folder, layers):
    config = dict(SHAPE, architectures=["LlamaForCausalLM"], model_type="llama", num_hidden_layers=layers,
                  hidden_act="silu", max_position_embeddings=2048, rms_norm_eps=1e-5, rope_theta=10000.0,
                  tie_word_embeddings=False, torch_dtype="float16", bos_token_id=None, eos_token_id=None)
    write_model(folder, config, list(tensors(layers)), SHAPE["vocab_size"])


def write_gpt2(folder):
    config = dict(GPT2, architectures=["GPT2LMHeadModel"], model_type="gpt2", activation_function="gelu_new",
                  layer_norm_epsilon=1e-5, tie_word_embeddings=True, torch_dtype="float16", bos_token_id=None,
                  eos_token_id=None)
    write_model(folder, config, list(gpt2_tensors()), GPT2["vocab_size"])


def write_model(folder, config, list_of, vocab):
    """f16, one tensor after the other: no more of it is in memory."""
    if (folder / "tokenizer.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    head, at = {}, 0
    for name, shape in list_of:
        size = 2 * int(numpy.prod(shape))
        head[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    draw = numpy.random.default_rng(1)
    with open(folder / "model.safetensors", "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for name, shape in list_of:
            if name.endswith("bias"):
                values = numpy.zeros(shape)
            elif len(shape) == 1:
                values = numpy.ones(shape)
            else:
                values = draw.standard_normal(shape, dtype=numpy.float32) * 0.02
            out.write(values.astype(numpy.float16).tobytes())
    write_tokenizer(folder, vocab)


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


class Failed(Exception):
    pass


def plan_of(program, options, place):
    plan = [program, "inspect", "--what", "memory", *STEP[:4], *options, *place]
    status, said, _, _ = run(["--linear" if word == "--method" else word for word in plan])
    print(said.strip(), flush=True)
    if status:
        raise Failed("no plan")


def first_moments(folder):
    """What AdamW keeps of the gradient of the first step: a part of it, the same for all."""
    (path,) = folder.glob("checkpoints/*/optimizer.safetensors")
    raw = path.read_bytes()
    at = 8 + int.from_bytes(raw[:8], "little")
    head = json.loads(raw[8:at])
    parts = [info["data_offsets"] for name, info in sorted(head.items()) if name.startswith("first.")]
    return numpy.concatenate([numpy.frombuffer(raw[at + a:at + b], numpy.float32) for a, b in parts]).astype(float)


def one_step(program, options, place, out, bound):
    """Loss and first moments of a step."""
    shutil.rmtree(out, ignore_errors=True)
    status, said, seconds, peak = run([program, "finetune", *options, *STEP, *place, "--out", out])
    print(f"{place[1]}: exit {status}, {seconds:.0f} s, peak {peak // MIB} MiB of {bound // MIB if bound else 'any'} MiB",
          end="", flush=True)
    if status:
        raise Failed(said[-400:])
    steps = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    (loss,) = [step["loss"] for step in steps if "loss" in step]
    moments = first_moments(out)
    shutil.rmtree(out)
    print(f", loss {loss:.7f}", end="", flush=True)
    if bound and peak > bound:
        raise Failed("too much memory")
    return loss, moments


def one_model(args, options, limits, bound, devices, out):
    of_cpu = None
    for device in devices:
        place = ["--device", device] + (["--limits", limits] if limits else [])
        plan_of(args.program, options, place)
        loss, moments = one_step(args.program, options, place, out, bound)
        if of_cpu is None:
            of_cpu = loss, moments
            print(flush=True)
            continue
        apart = abs(loss / of_cpu[0] - 1)
        far = numpy.linalg.norm(moments - of_cpu[1]) / numpy.linalg.norm(of_cpu[1])
        print(f", from cpu's {apart:.1e}, gradient {far:.1e}", flush=True)
        if not (apart <= LOSS_BOUND and far <= GRADIENT_BOUND):
            raise Failed(f"bounds are {LOSS_BOUND:.0e} and {GRADIENT_BOUND:.0e}")


def lockstep(args, options, limits, bound):
    """The same steps on cpu and the devices, and how far losses and parameters drift apart."""
    options = [*options, "--context", 32, "--batch-size", 1, "--reg", "none", "--limits", limits]
    plan_of(args.program, options, ["--device", args.devices[0]])
    status, said, seconds, peak = run([args.program, "train", *options, "--max-steps", 3, "--bound", bound, "--compare",
                                       ",".join(["cpu", *args.devices])])
    print(f"{said.strip()}\nexit {status}, {seconds:.0f} s, peak {peak // MIB} MiB of all devices together", flush=True)
    if status:
        raise Failed("they do not agree")


def checks(args, work):
    """Name and what to call."""
    llama, gpt2, text = work / f"llama-{args.layers}", work / "gpt2", work / "text"
    base = ["--base", llama, "--text", text, "--rank", 8]
    everywhere = ["cpu", *args.devices]

    def step(*options, limits="", bound=None, devices=("cpu",)):
        write_llama(llama, args.layers)
        one_model(args, options, limits, bound, devices, work / "run")

    for kind, bound in ("f16", 8 * GIB), ("nf4", 4 * GIB):
        for method in "lora", "tt-lora":
            yield (f"{kind}-{method}", lambda k=kind, m=method, b=bound:
                   step(*base, "--base-dtype", k, "--method", m, bound=b))
    yield "floor", lambda: step(*base, "--base-dtype", "f16", "--method", "lora", limits="emu-floor", devices=everywhere)
    yield "full", lambda: step(*base, "--method", "dense", limits="emu-floor", devices=everywhere)
    if args.smol:
        yield ("smol", lambda: one_model(
            args, ["--base", args.smol, "--text", text, "--base-dtype", "q8_0", "--method", "tt-lora"], "emu-pi4",
            700 * MIB, everywhere, work / "run"))
    shape = ["--arch", "gpt", "--layers", GPT2["n_layer"], "--d-model", 768, "--heads", 12, "--d-ff", 3072, "--tied-head", "true",
             "--tokenizer", gpt2, "--text", text]

    def small(*options, limits, bound=LOSS_BOUND):
        write_gpt2(gpt2)
        lockstep(args, options, limits, bound)

    for name, limits in ("gpt2-tt", "emu-pi4"), ("gpt2-tt-floor", "emu-floor"):
        yield name, lambda to=limits: small(*shape, "--linear", "tt", "--rank", 16, limits=to)
    # AdamW's first steps move numbers whose gradient is noise as far as all others: cpu is 2e-4 from cpu64 after three
    yield "gpt2-dense", lambda: small(*shape, "--layers", 10, "--linear", "dense", limits="emu-floor", bound=1e-3)
    yield ("gpt2-lora", lambda: small("--base", gpt2, "--text", text, "--embedding", "frozen", "--linear", "lora",
                                      "--rank", 8, limits="emu-pi4"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--work", default="/tmp/dart-large")
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--only", default="")
    parser.add_argument("--smol")
    parser.add_argument("--devices", default="opencl:0,vulkan:0")
    args = parser.parse_args()
    args.devices = [name for name in args.devices.split(",") if name]
    work = pathlib.Path(args.work)
    text = work / "text"
    text.mkdir(parents=True, exist_ok=True)
    for split in ("train", "valid", "test"):
        (text / f"{split}.txt").write_text("the company said it would not comment on it .\n" * 14)
    wanted, failed = [name for name in args.only.split(",") if name], []
    for name, check in checks(args, work):
        if wanted and name not in wanted or name == "full" and not wanted:
            continue
        print(f"== {name}", flush=True)
        try:
            check()
        except Failed as error:
            print(f"\n{name} failed: {error}", flush=True)
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
