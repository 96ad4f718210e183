"""Perplexity over size of a compressed SmolLM2-135M, a row at a time.

usage: table.py DART_LLM MODEL PTB [--minutes N] [--tokens-of BYTES] [--threads N] [--only WORD]...
       table.py --print

MODEL is model.gguf of datasets/fetch smollm2-135m-instruct, PTB the folder of datasets/fetch ptb. Rows that stand in
results.csv are not measured again, so a run that stopped goes on; --minutes is processor time for this call, after which
no further row is begun. README.md's table is made of results.csv by --print: what is missing there is "not run".
"""
import argparse
import csv
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
COLUMNS = ["modules", "method", "ranks", "metric", "target", "parameters", "tokens", "nll", "perplexity", "cpu_s"]


def rows():
    """The most telling ones first."""
    yield ("none", "", "", "", "")
    for target in ("1.25x", "2x", "1.5x", "4x"):
        for ranks in ("uniform", "found"):
            for metric in ("loss", "outputs", "entries"):
                for method in ("svd", "tt", "ttm"):
                    yield ("linears", method, ranks, metric, target)
    for target in ("2x", "4x", "1.25x", "1.5x"):
        for metric in ("outputs", "entries"):
            for method in ("svd", "ttm"):
                yield ("embedding", method, "uniform", metric, target)


def cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(*words):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: {done.stderr}")
    return json.loads(done.stdout)


def head(path, size, out):
    """The first `size` bytes, to the end of a line."""
    text = path.read_bytes()[:size]
    out.write_bytes(text[: text.rfind(b"\n") + 1])


def measure(row, call, folder):
    modules, method, ranks, metric, target = row
    texts, out = folder / "texts", folder / "run"
    texts.mkdir(exist_ok=True)
    head(call.ptb / "ptb.test.txt", call.tokens_of, texts / "test.txt")
    head(call.ptb / "ptb.valid.txt", 1200, texts / "valid.txt")
    head(call.ptb / "ptb.train.txt", 60000, texts / "train.txt")
    model, parameters, began = call.model, 134515008, cpu()
    if method:
        words = ["--method", method, "--ranks", ranks, "--target", target, "--out", out]
        if modules == "embedding":
            words += ["--modules", "tok_emb"]
        if metric != "entries":
            words += ["--metric", metric, "--calibrate", texts / "train.txt", "--calibrate-tokens", 4096]
        made = run(call.dart_llm, "compress", call.model, *words, "--device", "cpu", "--batch-size", 4, "--quiet", "--json")
        model, parameters = out, made["parameters_after"]
    words = ["--text", texts, "--device", "cpu", "--batch-size", 4, "--quiet", "--json"]
    test = run(call.dart_llm, "eval", model, *words)["test"]
    shutil.rmtree(out, ignore_errors=True)
    return [*row, parameters, test["tokens"], f"{test['nll']:.4f}", f"{test['perplexity']:.6g}", f"{cpu() - began:.0f}"]


def figure(cell):
    if not cell:
        return "not run"
    value = float(cell[8])
    return f"{value:.1f}" if value < 1e3 else f"{value:.2g}"


def show():
    """results.csv as the table of README.md."""
    known = {tuple(line[:5]): line for line in csv.reader((HERE / "results.csv").open())}
    targets = ("1.25x", "1.5x", "2x", "4x")
    print("| matrices | method | ranks | near to |", " | ".join(targets), "|")
    print("| --- | --- | --- | --- |", "---: | " * (len(targets) - 1) + "---: |")
    kinds = []
    for row in rows():
        if row[1] and row[:4] not in kinds:
            kinds.append(row[:4])
    for kind in sorted(kinds, key=lambda kind: (kind[0] != "linears", kind[1], kind[2], kind[3])):
        cells = [known.get((*kind, target)) for target in targets]
        if any(cells):
            print("|", " | ".join([*kind, *(figure(cell) for cell in cells)]), "|")


def main():
    if sys.argv[1:] == ["--print"]:
        return show()
    parser = argparse.ArgumentParser(usage=__doc__)
    for name in ("dart_llm", "model", "ptb"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--tokens-of", type=int, default=40000)
    parser.add_argument("--threads", default="1")
    parser.add_argument("--only", action="append", default=[])
    call = parser.parse_args()
    os.environ["DART_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = call.threads
    path = HERE / "results.csv"
    known = set()
    if path.exists():
        known = {tuple(line[:5]) for line in csv.reader(path.open())}
    else:
        path.write_text(",".join(COLUMNS) + "\n")
    for row in rows():
        if row in known or not set(call.only) <= set(row):
            continue
        if cpu() > call.minutes * 60:
            break
        with tempfile.TemporaryDirectory() as folder:
            line = measure(row, call, pathlib.Path(folder))
        with path.open("a", newline="") as out:
            csv.writer(out, lineterminator="\n").writerow(line)
        print(*line, flush=True)


main()
