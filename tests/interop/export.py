"""What `dart-llm export` writes, read by transformers, PEFT, gguf and llama.cpp: logits equal ours.

usage: export.py DART_LLM DUMP_LOGITS [--work FOLDER] [--bases llama,gpt2] [--model FILE.gguf]
  --model  also this GGUF file of a llama model, fine-tuned with lora: llama-cpp-python writes the same 100 greedy tokens
           with the whole model as ours, and with the adapter beside the exported base

A small random model of each kind of base is fine-tuned for some steps with every method, exported as LoRA pairs and as a
whole model, for Hugging Face's programs and for llama.cpp, and all are compared with ours. Needs torch, transformers,
peft, tokenizers, gguf, and llama-cpp-python for --model."""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import peft
import torch
import transformers

import logits

METHODS = ("lora", "tt-lora", "loretta-rep", "lorta", "dota", "lowrank", "ttm", "dense", "lora found", "lora few", "lora dora", "lora dora pissa",
           "lora dora part")
WORDS = {"found": ("--adaptive", "--budget", "0.6"),  # ranks by training
         "few": ("--adaptive", "--budget", "0.1"),  # so few that weights lose their adapters
         "dora": ("--use-dora", "true"), "pissa": ("--lora-init", "pissa"),
         "part": ("--weights", "blocks.*.attn.q lora rank=3 use_dora=true, blocks.*.attn.v lora rank=2, blocks.* frozen")}
BASES = ("llama", "llama3", "llama-blocks", "mistral", "qwen2", "qwen3", "gpt2")
PROMPT = "The capital of France is"


def run(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stderr}")
    return done.stdout


def examples(folder):
    chance = random.Random(1)
    for name, count in (("train", 60), ("valid", 6)):
        lines = ["".join(chance.choice("abcdefgh ") for _ in range(chance.randrange(5, 40))) for _ in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))


def ours(program, path):
    done = subprocess.run([program, str(path), "cpu", *map(str, logits.IDS)], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.float32).reshape(len(logits.IDS), -1)


def error(got, expected):
    return float(np.abs(got[:, :expected.shape[1]] - expected).max() / np.abs(expected).max())


def gguf_lora_error(base, folder, expected):
    """The adapter file's pairs put onto the base by hand, by the rules of llama-adapter.cpp, against our logits."""
    reader = gguf.GGUFReader(folder / "adapter.gguf")
    kind = reader.fields["general.architecture"].contents()
    assert reader.fields["general.type"].contents() == "adapter" and reader.fields["adapter.type"].contents() == "lora"
    alpha = reader.fields["adapter.lora.alpha"].contents()
    model = transformers.AutoModelForCausalLM.from_pretrained(base).eval()
    config = model.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[kind.upper()], config.num_hidden_layers)
    parameter = {names.get_name(name.removesuffix(".weight")) + ".weight": value
                 for name, value in model.named_parameters() if name.endswith(".weight")}
    tensor = {t.name: np.asarray(t.data) for t in reader.tensors}
    assert tensor and len(tensor) % 2 == 0
    for name in {name.rsplit(".", 1)[0] for name in tensor}:
        a, b = tensor[name + ".lora_a"], tensor[name + ".lora_b"]
        update = alpha / b.shape[1] * (b @ a)
        heads = {"attn_q": config.num_attention_heads,
                 "attn_k": getattr(config, "num_key_value_heads", 0)}.get(name.split(".")[-2])
        if kind == "llama" and heads:  # back from llama.cpp's order of rows
            update = update.reshape(heads, -1, 2, update.shape[1]).swapaxes(1, 2).reshape(update.shape)
        with torch.no_grad():
            parameter[name].add_(torch.from_numpy(update if kind != "gpt2" else np.ascontiguousarray(update.T)))
    return error(logits.logits_of(model, logits.IDS), expected)


def gguf_errors(given, base, model, expected):
    """Whole models in every dtype: F32 as exact as Hugging Face's, the others as ours of the same file."""
    for dtype in ("f32", "f16", "bf16", "q8_0", "q4_0"):
        out = model / f"gguf-{dtype}"
        run(given.dart, "export", model, "--format", "gguf", "--dtype", dtype, "--out", out, "--quiet")
        # transformers 5 takes neither the size of a head from a qwen3 file, nor the positions of gpt2, nor Llama 3's
        # factors of them
        blind = base.name in ("qwen3", "llama3", "gpt2")
        known = {"config": transformers.AutoConfig.from_pretrained(base)} if blind else {}
        whole = transformers.AutoModelForCausalLM.from_pretrained(out, gguf_file="model.gguf", dtype=torch.float32,
                                                                  **known).eval()
        wanted = expected if dtype == "f32" else ours(given.dump, out / "model.gguf")
        yield f"gguf {dtype}", error(logits.logits_of(whole, logits.IDS), wanted)
        if dtype == "f32":
            yield "gguf read here", error(ours(given.dump, out / "model.gguf"), expected)
            text = "abc  hello, W\u00f6rld 12345 \U0001f600"
            mine, theirs = (run(given.dart, "tokenizer", "encode", "--tokenizer", path, text).split()
                            for path in (base, out / "model.gguf"))
            assert mine == theirs and mine, (mine, theirs)


def greedy(program, path):
    return run(program, "generate", "--model-path", path, "--prompt", PROMPT, "--tokens", 100, "--temperature", 0,
               "--device", "cpu", "--quiet")


def llama_cpp(given, work):
    """Greedy text of llama.cpp with what was exported against ours."""
    import llama_cpp

    model = work / "tuned"
    run(given.dart, "finetune", "--base", given.model, "--data", work, "--method", "lora", "--rank", 4, "--max-steps", 3,
        "--learning-rate", "1e-3", "--context", 160, "--device", "cpu", "--out", model, "--quiet")
    for name, source, kind in (("whole", model, "gguf"), ("base", given.model, "gguf"), ("lora", model, "gguf-lora")):
        run(given.dart, "export", source, "--format", kind, "--out", work / name)
    expected = greedy(given.dart, model)
    failed = 0
    for name, words in (("gguf", dict(model_path=str(work / "whole/model.gguf"))),
                        ("gguf-lora", dict(model_path=str(work / "base/model.gguf"),
                                           lora_path=str(work / "lora/adapter.gguf")))):
        llm = llama_cpp.Llama(**words, n_ctx=256, n_threads=2, verbose=False)
        text = llm(PROMPT, max_tokens=100, temperature=0.0, repeat_penalty=1.0)["choices"][0]["text"]
        same = expected.strip().endswith(text.strip()) and bool(text.strip())
        failed += not same
        print(f"llama.cpp, {name}: {'the same greedy text' if same else f'{text!r}, expected {expected!r}'}")
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dart")
    parser.add_argument("dump")
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--bases", default=",".join(BASES))
    parser.add_argument("--model", type=pathlib.Path)
    given = parser.parse_args()
    cases = failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or pathlib.Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        examples(work)
        blocks = transformers.LlamaConfig(**logits.COMMON | dict(hidden_size=64, intermediate_size=96, num_attention_heads=4),
                                          num_key_value_heads=2)  # whose rows are whole blocks
        scaled = transformers.LlamaConfig(**logits.COMMON, num_key_value_heads=3, rope_theta=500000.0, rope_scaling={
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192})  # of 8,192 as GGUF files take for granted
        configs = dict(logits.configs()) | {"llama3": scaled, "llama-blocks": blocks}
        for name, config in configs.items():
            if name not in given.bases.split(","):
                continue
            base = work / name
            logits.random_model(config).save_pretrained(base)
            logits.byte_tokenizer(base)
            for method in METHODS:
                model = work / f"{name}-{method}"
                kind, *more = method.split()
                more = [word for each in more for word in WORDS[each]]
                run(given.dart, "finetune", "--base", base, "--data", work, "--method", kind, "--rank", 3,
                    "--max-steps", 5, "--learning-rate", "1e-2", "--context", 32, "--device", "cpu", "--out", model,
                    "--quiet", *more)
                expected = ours(given.dump, model)
                moved = error(ours(given.dump, base), expected)
                run(given.dart, "export", model, "--format", "hf", "--out", model / "hf")
                whole = transformers.AutoModelForCausalLM.from_pretrained(model / "hf").eval()
                assert whole.config.max_position_embeddings == config.max_position_embeddings, "positions were lost"
                errors = {"hf": error(logits.logits_of(whole, logits.IDS), expected)}
                if method in ("lora", "dense"):
                    errors |= dict(gguf_errors(given, base, model, expected))
                if method != "dense":
                    run(given.dart, "export", model, "--format", "gguf-lora", "--out", model / "gguf-lora")
                    errors["gguf-lora"] = gguf_lora_error(base, model / "gguf-lora", expected)
                    run(given.dart, "export", model, "--format", "peft", "--out", model / "peft")
                    adapted = peft.PeftModel.from_pretrained(
                        transformers.AutoModelForCausalLM.from_pretrained(base), model / "peft").eval()
                    errors["peft"] = error(logits.logits_of(adapted, logits.IDS), expected)
                for kind, value in errors.items():
                    cases += 1
                    failed += not (value <= logits.BOUND < moved)
                    print(f"{name}, {method}, {kind}: largest error {value:.1e}; training moved the logits by {moved:.1e}")
        if given.model:
            failed += llama_cpp(given, work)
            cases += 2
    print(f"export: {cases} cases, {failed} failed")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
