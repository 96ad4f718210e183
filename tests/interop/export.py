"""What `dart-llm export` writes, read by transformers and PEFT: logits equal ours.

usage: export.py DART_LLM DUMP_LOGITS [--work FOLDER]

A small random model of each kind of base is fine-tuned for some steps with every method, exported as LoRA pairs and as a
whole model, and both are compared with ours. Needs torch, transformers, peft, tokenizers: tests/interop/run has them."""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import numpy as np
import peft
import transformers

import logits

METHODS = ("lora", "tt-lora", "loretta-rep", "dota", "lowrank", "ttm", "dense")
BASES = ("llama", "qwen2", "qwen3", "gpt2")


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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dart")
    parser.add_argument("dump")
    parser.add_argument("--work", type=pathlib.Path)
    given = parser.parse_args()
    cases = failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or pathlib.Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        examples(work)
        for name, config in logits.configs():
            if name not in BASES:
                continue
            base = work / name
            logits.random_model(config).save_pretrained(base)
            logits.byte_tokenizer(base)
            for method in METHODS:
                model = work / f"{name}-{method}"
                run(given.dart, "finetune", "--base", base, "--data", work, "--method", method, "--rank", 3,
                    "--max-steps", 5, "--learning-rate", "1e-2", "--context", 32, "--device", "cpu", "--out", model,
                    "--quiet")
                expected = ours(given.dump, model)
                moved = error(ours(given.dump, base), expected)
                run(given.dart, "export", model, "--format", "hf", "--out", model / "hf")
                whole = transformers.AutoModelForCausalLM.from_pretrained(model / "hf").eval()
                errors = {"hf": error(logits.logits_of(whole, logits.IDS), expected)}
                if method != "dense":
                    run(given.dart, "export", model, "--format", "peft", "--out", model / "peft")
                    adapted = peft.PeftModel.from_pretrained(
                        transformers.AutoModelForCausalLM.from_pretrained(base), model / "peft").eval()
                    errors["peft"] = error(logits.logits_of(adapted, logits.IDS), expected)
                for kind, value in errors.items():
                    cases += 1
                    failed += not (value <= logits.BOUND < moved)
                    print(f"{name}, {method}, {kind}: largest error {value:.1e}; training moved the logits by {moved:.1e}")
    print(f"export: {cases} cases, {failed} failed")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
