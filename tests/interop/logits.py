"""Logits of small random models of every architecture, made and computed by transformers, against ours.

usage: logits.py DUMP_LOGITS [--devices cpu,vulkan:0,opencl:0] [--work FOLDER] [--model FILE.gguf [--text FILE]]
  DUMP_LOGITS  build/tests/dump_logits
  --model      also this GGUF file, against transformers on the same dequantised weights: logits, 64 greedy tokens
  --text       and the negative log-likelihood of the first 2,048 tokens of this text, in windows of 256

Needs torch, transformers, tokenizers, numpy (and gguf for --model): tests/interop/run makes them available."""
import argparse
import gzip
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, decoders

BOUND = 1e-4  # relative to the largest logit
IDS = [3, 17, 250, 4, 4, 99, 0, 511, 260, 31, 7, 7]
COMMON = dict(vocab_size=512, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6,
              max_position_embeddings=64)


def configs():
    t = transformers
    yield "llama", t.LlamaConfig(**COMMON, num_key_value_heads=2, rms_norm_eps=1e-5, tie_word_embeddings=False)
    yield "llama-tied", t.LlamaConfig(**COMMON, num_key_value_heads=6, rms_norm_eps=1e-6, tie_word_embeddings=True,
                                      rope_theta=500000.0)
    yield "llama3", t.LlamaConfig(**COMMON, num_key_value_heads=3, rope_scaling={
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16})
    yield "llama-linear", t.LlamaConfig(**COMMON, num_key_value_heads=3,
                                        rope_scaling={"rope_type": "linear", "factor": 4.0})
    yield "mistral", t.MistralConfig(**COMMON, num_key_value_heads=2, sliding_window=None)
    yield "qwen2", t.Qwen2Config(**COMMON, num_key_value_heads=2)
    yield "qwen3", t.Qwen3Config(**COMMON, num_key_value_heads=2, head_dim=16)
    yield "gpt2", t.GPT2Config(vocab_size=512, n_embd=48, n_layer=3, n_head=6, n_positions=64)


def byte_tokenizer(folder):
    """512 tokens: the bytes and pairs of nothing in particular."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: i for i, letter in enumerate(alphabet)}
    merges = []
    for left in alphabet:
        for right in alphabet:
            if len(vocab) == 512:
                break
            merges.append((left, right))
            vocab[left + right] = len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))


def random_model(config):
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases too, so that none is 1 or 0
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().numpy()


def compare(name, expected, program, path, devices, ids):
    failed = 0
    for device in devices:
        done = subprocess.run([program, str(path), device, *map(str, ids)], capture_output=True)
        if done.returncode:
            print(f"{name}, {device}: {done.stderr.decode().strip()}")
            failed += 1
            continue
        got = np.frombuffer(done.stdout, np.float32).reshape(len(ids), -1)[:, :expected.shape[1]]
        error = float(np.abs(got - expected).max() / np.abs(expected).max())
        print(f"{name}, {device}: largest error {error:.1e} of the largest logit {np.abs(expected).max():.2f}")
        failed += not error <= BOUND
    return failed


def ours(program, path, device, ids):
    done = subprocess.run([program, str(path), device, *map(str, ids)], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.float32).reshape(len(ids), -1)


def likelihood(logits, labels):
    """Sum of -log p over the rows."""
    logits = logits.astype(np.float64)
    top = logits.max(1, keepdims=True)
    total = np.log(np.exp(logits - top).sum(1)) + top[:, 0]
    return float((total - logits[np.arange(len(labels)), labels]).sum())


def real_model(given, devices):
    """Cases and failures of a GGUF file on one device."""
    path, cases, failed = given.model, 2, 0
    source = dict(pretrained_model_name_or_path=path.parent, gguf_file=path.name)
    model = transformers.AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
    ids = tokenizer("The capital of France is", add_special_tokens=False).input_ids
    failed += compare(path.name, logits_of(model, ids), given.program, path, devices, ids)
    with torch.no_grad():
        text = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=64, min_new_tokens=64)[0].tolist()
    scores = ours(given.program, path, devices[0], text[:-1]).copy()
    scores[:, model.generation_config.eos_token_id] = -np.inf  # what min_new_tokens forbids
    got = scores.argmax(1)[len(ids) - 1:].tolist()
    same = sum(a == b for a, b in zip(got, text[len(ids):]))
    print(f"{path.name}, {devices[0]}: {same} of 64 greedy tokens are transformers'")
    failed += same != 64
    if given.text:
        opened = gzip.open(given.text, "rt") if given.text.suffix == ".gz" else given.text.open()
        tokens = tokenizer(opened.read(40000), add_special_tokens=False).input_ids[:2048]
        sums = [0.0, 0.0]
        for begin in range(0, 2048, 256):
            window = tokens[begin:begin + 256]
            for i, logits in enumerate((logits_of(model, window), ours(given.program, path, devices[0], window))):
                sums[i] += likelihood(logits[:-1, :], window[1:])
        scored = 2048 - 8
        print(f"{path.name}, {devices[0]}: {sums[1] / scored:.6f} nats a token over {scored} of 2,048 tokens, "
              f"transformers {sums[0] / scored:.6f}")
        failed += abs(sums[1] - sums[0]) > 5e-5 * sums[0]
        cases += 1
    return cases, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--devices", default="cpu,vulkan:0,opencl:0")
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--text", type=pathlib.Path)
    given = parser.parse_args()
    devices, failed, cases = given.devices.split(","), 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or pathlib.Path(scratch)
        for name, config in configs():
            model, folder = random_model(config), work / name
            model.save_pretrained(folder)
            byte_tokenizer(folder)
            failed += compare(name, logits_of(model, IDS), given.program, folder, devices, IDS)
            cases += len(devices)
    if given.model:
        more, wrong = real_model(given, devices[:1])
        cases, failed = cases + more, failed + wrong
    print(f"logits: {cases} cases, {failed} failed")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
