"""Builds the fuzz targets with clang in a folder of their own and runs each for a while.

usage: run.py SOURCE BUILD [--seconds S] [--fresh] [--targets a,b] [--jobs N]
  S        of each target; hours for a long run
  --fresh  from the corpus alone: the same executions in the same order each time, as far as S reaches; what CTest does

What a target finds lies in BUILD/findings, with the command that shows it; new inputs in BUILD/inputs/<target>, from
which the next run goes on. Exit code 77 where there is no clang."""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys

# Models and data that strangers pass on: three times as long as the others.
LONG = {"safetensors", "gguf", "hf", "tokenizer", "examples", "adapter"}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("source", type=pathlib.Path)
parser.add_argument("build", type=pathlib.Path)
parser.add_argument("--seconds", type=int, default=20)
parser.add_argument("--fresh", action="store_true")
parser.add_argument("--targets")
parser.add_argument("--jobs", type=int, default=1)
given = parser.parse_args()
here = given.source.resolve() / "tests/fuzz"
clang = next((found for found in map(shutil.which, ("clang", "clang-14", "clang-15", "clang-16")) if found), None)
if not clang:
    print("skipped: there is no clang")
    sys.exit(77)


def build(names):
    launcher = shutil.which("ccache")
    configure = ["cmake", "-S", str(given.source), "-B", str(given.build), "-G", "Ninja", f"-DCMAKE_C_COMPILER={clang}",
                 "-DDART_FUZZ=ON", "-DCMAKE_BUILD_TYPE=RelWithDebInfo"]
    if launcher:
        configure.append(f"-DCMAKE_C_COMPILER_LAUNCHER={launcher}")
    for command in (configure, ["cmake", "--build", str(given.build), "-j", str(given.jobs), "--target", *names]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{(done.stdout + done.stderr)[-4000:]}")


def fuzz(name):
    """Executions; None: there is a finding."""
    inputs, findings = given.build / "inputs" / name, given.build / "findings"
    if given.fresh:  # what earlier runs found would change the course of this one
        inputs = given.build / "scratch" / name
        shutil.rmtree(inputs, ignore_errors=True)
    for folder in (inputs, findings):
        folder.mkdir(parents=True, exist_ok=True)
    seeds = here / "corpus" / name
    seconds = given.seconds * (3 if name in LONG else 1)
    limits = [f"-max_total_time={seconds}", *(["-seed=1"] if given.fresh else [])]
    command = [str(given.build / "tests/fuzz" / f"fuzz_{name}"), *limits, "-timeout=10",
               "-rss_limit_mb=2560", "-malloc_limit_mb=1024", "-max_len=65536", "-print_final_stats=1", "-verbosity=1",
               f"-artifact_prefix={findings}/{name}-", str(inputs), str(seeds)]
    options = {"ASAN_OPTIONS": "allocator_may_return_null=1:detect_leaks=1",
               "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env={**os.environ, **options})
    count = re.search(r"stat::number_of_executed_units: *(\d+)", done.stderr)
    if done.returncode:
        print(f"{name}: a finding\n{done.stderr[-3500:]}\n{' '.join(command[:1])} FILE", flush=True)
        return None
    print(f"{name}: {count[1]} executions", flush=True)
    return int(count[1])


names = sorted(path.stem.removeprefix("fuzz_") for path in here.glob("fuzz_*.c"))
if given.targets:
    names = given.targets.split(",")
build([f"fuzz_{name}" for name in names])
with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
    results = list(pool.map(fuzz, names))
found = results.count(None)
print(f"fuzz: {len(names)} targets, {sum(filter(None, results))} executions, {found} findings")
sys.exit(1 if found else 0)
