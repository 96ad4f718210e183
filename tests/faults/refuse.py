"""Trains on drivers that cannot make every kernel, and looks at what takes the place of those.

usage: refuse.py PROGRAM SHIM [--devices vulkan:0,opencl:0]
  SHIM   dart_fault_refuse.so

Expected: a run with work-groups of 16 at most ends with the loss of an undisturbed one and says once that simpler kernels
took the place of others; the next run says nothing, as they are kept; a driver that makes no kernel is told in one sentence, exit code 5."""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

SKIPPED = 77
RECIPE = """\
model: {layers: 2, d_model: 64, heads: 2, context: 32}
method: {linear: tt, rank: 8}
data: {text: text.txt}
train: {batch_size: 4, seed: 3}
run: {save_steps: 0, limits: emu-pi4}
stage: {learning_rate: 1e-2}
stages:
  - {name: shrink, max_steps: 3, reg: log-det, lambda_reg: 0.02}
  - {name: pick, select: threshold, threshold: 0.1}
  - {name: tune, max_steps: 3}
"""


def run(program, device, root, name, **environment):
    """Exit code, last training loss, lines about kernels."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DART_", "XDG_", "LD_"))}
    done = subprocess.run([program, "train", "--config", "recipe.yaml", "--device", device, "--out", name, "--quiet"],
                          cwd=root, text=True, capture_output=True, timeout=500, env={**kept, **environment})
    losses = []
    if done.returncode == 0:
        for line in (root / name / "metrics.jsonl").read_text().splitlines():
            losses += [json.loads(line)["loss"]] if "loss" in json.loads(line) else []
    return done.returncode, losses[-1] if losses else None, [l for l in done.stderr.splitlines() if l.strip()]


def look(program, shim, device, root, setting, whole, failures):
    """One device, one kind of weakness."""
    label = f"{device} with {setting[0]}={setting[1]}"
    weak = {"XDG_CACHE_HOME": str(root / f"cache-{device}-{setting[0]}"), setting[0]: setting[1], "LD_PRELOAD": shim}
    code, loss, lines = run(program, device, root, f"weak-{device}-{setting[0]}", **weak)
    noted = [line for line in lines if "a simpler form takes its place" in line]
    failures += [f"{label}: exit code {code}, {lines}"] * (code != 0)
    failures += [f"{label}: {len(noted)} lines about kernels: {lines}"] * (len(noted) != 1)
    if code == 0 and abs(loss / whole - 1) > 1e-4:
        failures.append(f"{label}: loss {loss}, {whole} without")
    again, _, more = run(program, device, root, f"again-{device}-{setting[0]}", **weak)
    failures += [f"{label}, again: exit code {again}, {more}"] * (again != 0 or any("simpler" in l for l in more))
    print(f"{label}: loss {loss}, without {whole}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("shim")
    parser.add_argument("--devices", default="vulkan:0,opencl:0")
    args = parser.parse_args()
    program, shim, failures, seen = str(pathlib.Path(args.program).resolve()), str(pathlib.Path(args.shim).resolve()), [], 0
    with tempfile.TemporaryDirectory(prefix="dart-refuse-") as scratch:
        root = pathlib.Path(scratch)
        (root / "text.txt").write_text("the cat sees a dog .\na dog sees one bird .\n" * 60)
        (root / "recipe.yaml").write_text(RECIPE)
        for device in args.devices.split(","):
            code, whole, lines = run(program, device, root, f"plain-{device}",
                                     XDG_CACHE_HOME=str(root / f"cache-plain-{device}"))
            if code:
                print(f"{device}: skipped: {lines}")
                continue
            seen += 1
            settings = [("DART_REFUSE_ABOVE", "16")]
            settings += [("DART_REFUSE_GROUPS", "32")] if device.startswith("opencl") else []
            for setting in settings:
                look(program, shim, device, root, setting, whole, failures)
            code, _, lines = run(program, device, root, f"none-{device}", LD_PRELOAD=shim, DART_REFUSE_ABOVE="0",
                                 XDG_CACHE_HOME=str(root / f"cache-none-{device}"))
            last = lines[-1] if lines else ""
            if code != 5 or "makes no form of kernel" not in last:
                failures.append(f"{device}: without any kernel: exit code {code}, {last}")
    for failure in failures:
        print("FAILED", failure)
    return SKIPPED if not seen else bool(failures)


if __name__ == "__main__":
    sys.exit(main())
