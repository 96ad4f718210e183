"""Makes one call of the Vulkan or OpenCL driver fail in a training run, each in its turn, and looks at what becomes of it.

usage: drivers.py PROGRAM SHIM [--seconds S] [--devices vulkan:0,opencl:0] [--kinds memory,lost,dead] [--jobs N] [--at K]
  SHIM     dart_fault_drivers.so
  S        so long at most: some calls of each function in turn; 0: every call
  dead     from that call on every call fails; the others: that call alone
  --at     this call only, and what the run said

Expected of each trial: no signal; exit code 4 with kind memory, 5 with the others, and one sentence; or 0 and the weights
of an undisturbed run. Then the run goes on with --resume, from no older checkpoint than it had, to those weights."""
import argparse
import concurrent.futures
import hashlib
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

SKIPPED = 77
KINDS = ("crashes", "wrong exit codes", "wrong sentences", "lost checkpoints", "unresumable runs", "different bits")
RECIPE = """\
model: {layers: 1, d_model: 8, heads: 2, context: 8, dropout: 0.1}
method: {linear: tt, rank: 3, linear_modes: 2}
data: {text: text.txt}
train: {batch_size: 2, seed: 3}
run: {save_steps: 2, spectra_steps: 0, eval_steps: 0}
stage: {learning_rate: 1e-2, warmup_steps: 1}
stages:
  - {name: shrink, max_steps: 3, reg: bond-nuclear, lambda_reg: 0.02}
  - {name: pick, select: threshold, threshold: 0.25}
  - {name: tune, max_steps: 3}
"""
LAST = [f"checkpoints/step-00000006/{name}.safetensors" for name in ("model", "optimizer")]


class Lab:
    """Runs in folders of their own; compiled kernels are shared, so that a run is short."""

    def __init__(self, program, shim, device):
        self.program, self.shim, self.device = program, shim, device
        self.cache = str(pathlib.Path(shim).parent / "drivers-cache") # kept: PoCL takes a minute to fill its own
        self.scratch = tempfile.TemporaryDirectory(prefix="dart-drivers-")
        self.root = pathlib.Path(self.scratch.name)
        chance = random.Random(7)
        words = ("the cat", "a dog", "one bird", "my friend")
        lines = [f"{chance.choice(words)} sees {chance.choice(words)} ." for _ in range(60)]
        (self.root / "text.txt").write_text("\n".join(lines) + "\n")
        (self.root / "recipe.yaml").write_text(RECIPE.replace("text.txt", str(self.root / "text.txt")))
        self.trials = 0

    def close(self):
        self.scratch.cleanup()

    def folder(self):
        self.trials += 1
        return self.root / f"trial-{self.trials}"

    def train(self, folder, at=0, kind="lost"):
        """(exit code or minus the signal, stderr, names of the calls, the one that failed or '-')"""
        resume = (folder / "run/recipe.yaml").exists()
        folder.mkdir(exist_ok=True)
        report = folder / "report"
        words = ["train", "--device", self.device, "--quiet"]
        words += ["--out", "run", "--resume"] if resume else ["--config", str(self.root / "recipe.yaml"), "--out", "run"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DART_", "XDG_", "LD_"))}
        done = subprocess.run([self.program, *words], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=300,
                              env={**kept, "XDG_CACHE_HOME": self.cache, "LC_ALL": "C", "LD_PRELOAD": self.shim,
                                   "OPENBLAS_NUM_THREADS": "1", "DART_FAULT_AT": str(at), "DART_FAULT_KIND": kind,
                                   "DART_FAULT_REPORT": str(report)})
        failed, *names = report.read_text().split() if report.exists() else "-"
        return done.returncode, done.stderr.decode(errors="replace"), names, failed

    @staticmethod
    def weights(folder):
        paths = [folder / "run" / name for name in LAST]
        return [hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "missing" for path in paths]

    @staticmethod
    def newest(folder):
        steps = [path.name for path in (folder / "run/checkpoints").glob("step-*") if re.fullmatch(r"step-\d+", path.name)]
        return max(steps, default="")


def judge(lab, expected, kind, at, shown):
    """What was wrong with the trial, as (kind, sentence); None where no call failed."""
    folder = lab.folder()
    try:
        code, said, _, failed = lab.train(folder, at, kind)
        if failed == "-" and code >= 0:
            return None
        wrong, what = [], f"{lab.device}, {kind}, call {at} ({failed}): exit code {code}: {said.strip()[-300:]}"
        if shown:
            print(what)
        if code < 0 or code >= 128:
            wrong.append(("crashes", what))
        elif code not in (0, 4 if kind == "memory" else 5):
            wrong.append(("wrong exit codes", what))
        elif code and len([line for line in said.splitlines() if line.startswith("dart-llm: ")]) != 1:
            wrong.append(("wrong sentences", what))
        if code:
            had = lab.newest(folder)
            again, then, _, _ = lab.train(folder)
            if "trying the one before it" in then or lab.newest(folder) < had:
                wrong.append(("lost checkpoints", f"{what}; had {had}, then: {then.strip()[-300:]}"))
            if again:
                wrong.append(("unresumable runs", f"{what}; then exit code {again}: {then.strip()[-300:]}"))
                return wrong
        if lab.weights(folder) != expected:
            wrong.append(("different bits", what))
        return wrong
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def in_turn(names):
    """Calls, counted from 1, in an order of which any beginning has the functions equally often: first, last, middle."""
    calls = {}
    for at, name in enumerate(names, 1):
        calls.setdefault(name, []).append(at)
    rank = {}
    for found in calls.values():
        chance = random.Random(7)
        order = [found[0], *found[:0:-1][:1], *chance.sample(found[1:-1], max(0, len(found) - 2))]
        rank.update((at, turn) for turn, at in enumerate(order))
    return sorted(rank, key=lambda at: (rank[at], at))


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("program")
    parser.add_argument("shim")
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--devices", default="vulkan:0,opencl:0")
    parser.add_argument("--kinds", default="memory,lost,dead")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--at", type=int, default=0)
    options = parser.parse_args()
    program, shim = (str(pathlib.Path(path).resolve()) for path in (options.program, options.shim))
    labs = []
    for device in options.devices.split(","):
        lab = Lab(program, shim, device)
        folders = [lab.folder(), lab.folder()]
        for folder in folders: # the first compiles
            code, said, names, _ = lab.train(folder)
        if code:
            print(f"{device} skipped: exit code {code}: {said.strip()}")
            lab.close()
            continue
        expected = lab.weights(folders[0])
        if "missing" in expected or lab.weights(folders[1]) != expected:
            raise SystemExit(f"{device}: two undisturbed runs differ or lack a file")
        labs.append((lab, expected, names))
    if not labs:
        return SKIPPED
    turns = [(turn, number, kind, at) for number, (_, _, names) in enumerate(labs) for kind in options.kinds.split(",")
             for turn, at in enumerate([options.at] if options.at else in_turn(names))]
    random.Random(11).shuffle(turns)  # devices, kinds and functions side by side, also in a run that is cut short
    trials = [(*labs[number][:2], kind, at) for _, number, kind, at in sorted(turns, key=lambda trial: trial[0])]
    begin = time.monotonic()
    wrong, tried = dict.fromkeys(KINDS, 0), 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        def one(trial):
            late = options.seconds and time.monotonic() - begin > options.seconds
            return None if late else judge(*trial, options.at > 0)
        for found in pool.map(one, trials):
            tried += found is not None
            for kind, what in found or ():
                wrong[kind] += 1
                print(f"{kind}: {what}", flush=True)
    for lab, _, names in labs:
        print(f"{lab.device}: {len(names)} calls of {len(set(names))} functions in an undisturbed run")
        lab.close()
    print(f"drivers: {tried} trials of {len(trials)}, " + ", ".join(f"{number} {kind}" for kind, number in wrong.items()))
    return 1 if not tried or any(wrong.values()) else 0


sys.exit(main())
