"""A scratch place with a small text and small trained models of our own making, the commands that are disturbed there,
and what a disturbed command has to come to. Used by faults.py and kills.py."""
import hashlib
import itertools
import os
import pathlib
import random
import re
import shutil
import subprocess
import tempfile
import time

RECIPE = """\
model: {layers: 1, d_model: 8, heads: 2, context: 8, dropout: 0.1}
method: {linear: tt, rank: 3, linear_modes: 2}
data: {text: text.txt}
train: {batch_size: 2, seed: 3}
run: {device: cpu, save_steps: 4, spectra_steps: 3}
stage: {learning_rate: 1e-2, warmup_steps: 1}
stages:
  - {name: shrink, max_steps: 5, reg: bond-nuclear, lambda_reg: 0.02}
  - {name: pick, select: threshold, threshold: 0.25}
  - {name: tune, max_steps: 4}
"""
PAIRS = """\
model: {arch: encoder-decoder, layers: 1, d_model: 8, heads: 2, context: 8, dropout: 0}
method: {linear: tt, rank: 3, linear_modes: 2}
data: {source_text: source.txt, target_text: target.txt, min_count: 1}
train: {batch_size: 2, seed: 3, length_shapes: 1}
run: {device: cpu, beam: 0}
stages: [{name: all, max_steps: 4}]
"""
SWEEP = """\
base: recipe.yaml
seeds: [1]
variants:
  - {label: all}
  - {label: few, pick.threshold: 0.4}
"""


class Command:
    """words: the arguments; copies: prepared folders that it starts from; files: what it leaves that is compared, besides
    what it prints (printed: False where that holds times). A training is gone on with --resume. drivers: it may see those
    of GPUs. once: it refuses a folder that has its result, so this has to be whole where only printing it failed."""

    def __init__(self, words, copies=(), files=(), printed=True, training=False, drivers=False, once=False):
        self.words, self.copies, self.files = words.split(), copies, files
        self.printed, self.training, self.drivers, self.once = printed, training, drivers, once

    @property
    def name(self):
        return self.words[0]


LAST = ("checkpoints/step-00000009/model.safetensors", "checkpoints/step-00000009/optimizer.safetensors",
        "metrics.jsonl", "spectra.jsonl")
COMMANDS = {
    "train": Command("train --config recipe.yaml --out run --quiet", files=[f"run/{name}" for name in LAST],
                     printed=False, training=True),
    "resume": Command("train --out half --resume --quiet", ["half"], files=[f"half/{name}" for name in LAST],
                      printed=False, training=True),
    "eval": Command("eval trained", ["trained"]),
    "generate": Command("generate --model-path trained --prompt the --tokens 6 --quiet", ["trained"]),
    "translate": Command("translate --model-path pairs --input source-2.txt --beam 2 --quiet", ["pairs"]),
    "inspect": Command("inspect --model-path trained", ["trained"]),
    "report": Command("report trained --out page.html --csv tables --svg pictures --tensorboard board", ["trained"],
                      files=["page.html", "tables/metrics.csv", "tables/spectra.csv", "tables/ranks.csv"]),
    "sweep": Command("sweep sweep.yaml --out swept --quiet", files=[f"swept/{run}-s1/{name}" for run in ("all", "few")
                                                                     for name in LAST]),
    "devices": Command("devices"),
    "train-json": Command("train --config recipe.yaml --out run --quiet --json", files=[f"run/{name}" for name in LAST],
                          training=True),
    "compare": Command("train --config recipe.yaml --compare cpu,cpu --json --quiet"),
    "eval-json": Command("eval trained --json", ["trained"]),
    "generate-json": Command("generate --model-path trained --prompt the --tokens 6 --quiet --json", ["trained"]),
    "inspect-json": Command("inspect memory --model-path trained --json", ["trained"]),
    "inspect-plan": Command("inspect plan --model-path trained --json", ["trained"]),
    "compress": Command("compress trained --modules mlp,tok_emb --epsilon 0.9 --out small --quiet", ["trained"],
                        files=["small/checkpoints/step-00000000/model.safetensors", "small/recipe.yaml"], once=True),
    "round": Command("compress whole --method gptq --base-dtype q4_0 --calibrate text.txt --calibrate-tokens 16 --modules q_proj "
                     "--out rounded --quiet", ["whole"], files=["rounded/model.safetensors", "rounded/config.json"], once=True),
    "devices-json": Command("devices --json"),
    "bleu": Command("bleu target.txt text-2.txt --json"),
    "two": Command("report trained half --out page.html", ["trained", "half"], files=["page.html"]),
    "swept": Command("report swept --out page.html", ["swept"], files=["page.html"]),
    "vulkan": Command("eval trained --device vulkan:0", ["trained"], drivers=True),
    "bench": Command("bench --device cpu --test step,infer --layers 1 --d-model 8 --heads 2 --context 8 --repeats 1 "
                     "--prompt 4 --tokens 2", printed=False),
    "bench-parts": Command("bench --device cpu --test bwd,op:norm,gemm:NN4x4x4,contract,attention --layers 1 --d-model 8 "
                           "--heads 2 --context 8 --rank 2,3 --repeats 1 --profile --trace trace.json --svg pictures -o json",
                           printed=False),
}


class Done:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def sentences(self):
        return [line for line in self.err.splitlines() if line.startswith("dart-llm: ")]


class Lab:
    """Commands run in a folder of their own, which is also HOME, on one thread and without GPU drivers: those are
    libraries that end the process when memory is short."""

    def __init__(self, program):
        self.program = str(pathlib.Path(program).resolve())
        room = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.scratch = tempfile.TemporaryDirectory(prefix="dart-faults-", dir=room)
        self.base = pathlib.Path(self.scratch.name) / "base"
        self.base.mkdir()
        self.expected = {}
        self.numbers = itertools.count(1)  # several threads ask
        self._prepare()

    def close(self):
        self.scratch.cleanup()

    def _prepare(self):
        chance = random.Random(7)
        who, does = ("the cat", "a dog", "one bird", "my friend"), ("sees", "likes", "finds")
        lines = [f"{chance.choice(who)} {chance.choice(does)} {chance.choice(who)} ." for _ in range(60)]
        texts = {"text.txt": lines, "text-2.txt": lines[1:] + lines[:1], "target.txt": lines, "source.txt": [line[::-1] for line in lines],
                 "source-2.txt": [line[::-1] for line in lines[:2]]}
        for name, words in texts.items():
            (self.base / name).write_text("\n".join(words) + "\n")
        for name, text in (("recipe.yaml", RECIPE), ("pairs.yaml", PAIRS), ("sweep.yaml", SWEEP)):
            (self.base / name).write_text(text)
        for words in ("train --config recipe.yaml --out trained --quiet", "train --config pairs.yaml --out pairs --quiet",
                      "sweep sweep.yaml --out swept --quiet", "tokenizer train text.txt --vocab-size 260 --out bpe",
                      "train --text text.txt --tokenizer bpe --arch llama --layers 1 --d-model 32 --heads 2 --linear dense "
                      "--context 8 --batch-size 2 --device cpu --max-steps 1 --select none --out whole --quiet"):
            done = self.run(self.base, words.split())
            if done.code:
                raise SystemExit(f"{words}: exit code {done.code}\n{done.err}")
        shutil.copytree(self.base / "trained", self.base / "half")
        shutil.rmtree(self.base / "half/checkpoints/step-00000009")
        (self.base / "half/table.json").unlink()

    def folder(self, command):
        """A fresh place for one trial."""
        place = pathlib.Path(self.scratch.name) / f"trial-{os.getpid()}-{next(self.numbers)}"
        place.mkdir()
        for path in self.base.iterdir():
            if path.is_file():
                shutil.copy(path, place)
        for name in command.copies:
            shutil.copytree(self.base / name, place / name)
        return place

    def environment(self, place, more=(), drivers=False):
        hidden = {} if drivers else {name: "/nonexistent" for name in
                                     ("VK_ICD_FILENAMES", "VK_DRIVER_FILES", "OCL_ICD_VENDORS")}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DART_", "XDG_", "LD_"))}
        return {**kept, "HOME": str(place), "DART_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LC_ALL": "C",
                **hidden, **dict(more)}

    def run(self, place, words, more=(), before=(), drivers=False):
        done = subprocess.run([*before, self.program, *words], cwd=place,
                              env=self.environment(place, more, drivers), stdin=subprocess.DEVNULL, capture_output=True, timeout=300)
        return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def start(self, place, words):
        return subprocess.Popen([self.program, *words], cwd=place, env=self.environment(place), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def result(self, command, place, done):
        """What the command came to: hashes of its files, and what it printed."""
        found = {}
        for name in command.files:
            path = place / name
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "missing"
        if command.printed: # without what is another each time
            lines = done.out.splitlines()
            found["printed"] = "\n".join(line for line in lines if not re.search("second|tokens/s|tokens_per_s|resident", line))
        return found

    def undisturbed(self, key):
        """The result without a disturbance, twice, since what varies by itself could show nothing."""
        if key not in self.expected:
            command, results = COMMANDS[key], []
            for _ in range(2):
                place = self.folder(command)
                done = self.run(place, command.words, drivers=command.drivers)
                if done.code:
                    raise SystemExit(f"{key}: exit code {done.code} undisturbed\n{done.err}")
                results.append(self.result(command, place, done))
                shutil.rmtree(place)
            if results[0] != results[1] or "missing" in results[0].values():
                raise SystemExit(f"{key}: two undisturbed runs differ or lack a file: {results}")
            self.expected[key] = results[0]
        return self.expected[key]

    @staticmethod
    def next_words(key, place):
        """The command again, a training with --resume where it has a folder."""
        words = COMMANDS[key].words
        goes_on = COMMANDS[key].training and "--resume" not in words and (place / "run/recipe.yaml").exists()
        return [*words, "--resume"] if goes_on else words

    def recover(self, key, place):
        return self.run(place, self.next_words(key, place), drivers=COMMANDS[key].drivers)


class Tally:
    KINDS = ("crashes", "wrong exit codes", "wrong sentences", "lost checkpoints", "unresumable runs", "different bits")

    def __init__(self):
        self.trials = 0
        self.wrong = dict.fromkeys(self.KINDS, 0)

    def note(self, kind, what):
        self.wrong[kind] += 1
        print(f"{kind}: {what}", flush=True)

    def add(self, other):
        self.trials += other.trials
        for kind in self.KINDS:
            self.wrong[kind] += other.wrong[kind]

    def __str__(self):
        return f"{self.trials} trials, " + ", ".join(f"{count} {kind}" for kind, count in self.wrong.items())

    @property
    def failed(self):
        return not self.trials or any(self.wrong.values())


def judge_end(lab, key, place, tally, what, last):
    """After a disturbance that ended the command: it goes on to the same bits. last: what it said."""
    command = COMMANDS[key]
    if command.once and ("cannot write to standard output" in last or "out of memory for a table" in last):
        again = Done(0, "", "")
    else:
        again = lab.recover(key, place)
    if "trying the one before it" in again.err:
        tally.note("lost checkpoints", f"{what}: {again.err.strip()[:300]}")
    if again.code:
        tally.note("unresumable runs", f"{what}: {last}; then exit code {again.code}: {again.err.strip()[-300:]}")
        return
    got, expected = lab.result(command, place, again), lab.undisturbed(key)
    names = command.files if command.once and not again.out else expected
    different = [name for name in names if got[name] != expected[name]]
    if different:
        tally.note("different bits", f"{what}: {last}; then {', '.join(different)}")


def clock():
    return time.monotonic()
