"""Shows that a change of the code changes no bit of any result.

usage: bits.py record DART_LLM FOLDER     runs the recipes of tests/tools/bits with the program of before, keeps the runs
       bits.py compare DART_LLM FOLDER    runs them with the program of after and compares; then opens the kept runs:
                                          goes on from their first checkpoint, generates from their last
Compared are the hashes of weights, moments, metrics.jsonl, spectra.jsonl and of generated text, on cpu, opencl:0 and
vulkan:0. DART_BITS_DEVICES and DART_BITS_RECIPES (comma lists) take fewer. Hashes differ between machines and drivers,
so none are committed. The devices run at the same time.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

if len(sys.argv) != 4 or sys.argv[1] not in ("record", "compare"):
    sys.exit(__doc__)
mode, program, folder = sys.argv[1], str(pathlib.Path(sys.argv[2]).resolve()), pathlib.Path(sys.argv[3])
recipes = sorted((pathlib.Path(__file__).parent / "bits").glob("*.yaml"))
if os.environ.get("DART_BITS_RECIPES"):
    recipes = [r for r in recipes if r.stem in os.environ["DART_BITS_RECIPES"].split(",")]
devices = os.environ.get("DART_BITS_DEVICES", "cpu,opencl:0,vulkan:0").split(",")
sentences = "ein mann fährt fahrrad .\nzwei hunde laufen im schnee .\neine frau steht\n"


def run(*words, text=None):
    done = subprocess.run([program, *map(str, words)], input=text, capture_output=True, text=True, timeout=1200)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def said(recipe, device, model):
    """The text that a model makes."""
    if recipe.stem == "translate":
        lines = pathlib.Path(model).with_suffix(".de")
        lines.write_text(sentences)
        return run("translate", "--model-path", model, "--input", lines, "--device", device, "--beam", 2, "--quiet")
    return run("generate", "--model-path", model, "--device", device, "--prompt", "the company said", "--tokens", 40,
               "--temperature", 0.9, "--quiet")


def hashes(recipe, device, out):
    last = max(out.glob("checkpoints/step-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
    files = {"weights": last / "model.safetensors", "moments": last / "optimizer.safetensors",
             "metrics": out / "metrics.jsonl", "spectra": out / "spectra.jsonl"}
    found = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items() if path.exists()}
    found["text"] = hashlib.sha256(said(recipe, device, out).encode()).hexdigest()
    return found


def train(recipe, device, out, *more):
    run("train", "--config", recipe, "--device", device, "--out", out, "--quiet", *more)
    return hashes(recipe, device, out)


def compare(what, expected, got):
    wrong = [f"{what}: {name} differs" for name in expected if got.get(name) != expected[name]]
    print("\n".join(wrong) if wrong else f"{what}: {len(expected)} equal", flush=True)
    return len(expected), len(wrong)


def work(device):
    counted = []
    for recipe in recipes:
        what, kept = f"{recipe.stem} {device}", folder / f"{recipe.stem}-{device.replace(':', '')}"
        if mode == "record":
            shutil.rmtree(kept, ignore_errors=True)
            found = train(recipe, device, kept)
            kept.with_suffix(".json").write_text(json.dumps(found))
            print(f"{what}: {len(found)} recorded", flush=True)
            continue
        expected = json.loads(kept.with_suffix(".json").read_text())
        with tempfile.TemporaryDirectory() as scratch:
            out = pathlib.Path(scratch) / "run"
            counted.append(compare(what, expected, train(recipe, device, out)))
            old = pathlib.Path(scratch) / "old"
            shutil.copytree(kept, old)
            text = {"text": hashlib.sha256(said(recipe, device, old).encode()).hexdigest()}
            counted.append(compare(f"{what}, text from the checkpoint of before", {"text": expected["text"]}, text))
            first, *later = sorted(old.glob("checkpoints/step-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
            for path in later:
                shutil.rmtree(path)
            more = train(recipe, device, old, "--resume")
            counted.append(compare(f"{what}, resumed from {first.name} of before", expected, more))
    return counted


folder.mkdir(parents=True, exist_ok=True)
with concurrent.futures.ThreadPoolExecutor() as pool:
    results = [pair for device in pool.map(work, devices) for pair in device]
if mode == "compare":
    figures, wrong = (sum(pair[i] for pair in results) for i in (0, 1))
    print(f"{figures} figures compared, {wrong} differ")
    sys.exit(1 if wrong or not figures else 0)
