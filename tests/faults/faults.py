"""Makes one allocation or system call of a command fail, each in its turn, and looks at what becomes of it.

usage: faults.py alloc|syscalls PROGRAM SHIMS [--seconds S] [--jobs N] [--commands a,b] [--failures EIO,...] [--at k]
  SHIMS    folder with dart_fault_alloc.so and dart_fault_syscalls
  S        so long at most: an evenly spread sample of all k; 0: every k
  --at     one k only, with the place of the failure printed

Expected of each trial: no signal; exit code 4 (memory) or 6 (input/output) with one sentence, or 0 and the result of an
undisturbed run (EINTR: always 0); then the command again, or --resume, ends with that result too. README.md says what is
counted."""
import argparse
import concurrent.futures
import os
import pathlib
import shutil
import sys

import lab as labs

FAILURES = ("EIO", "ENOSPC", "EINTR", "SHORT")
SKIPPED, BROKEN = 77, 99


class Shims:
    def __init__(self, folder):
        self.alloc = str(pathlib.Path(folder).resolve() / "dart_fault_alloc.so")
        self.syscalls = str(pathlib.Path(folder).resolve() / "dart_fault_syscalls")

    def run(self, lab, place, key, failure, at, trace=False):
        """The command with the k-th call failing; also how many there were, and what failed ('': nothing)."""
        words, report = labs.COMMANDS[key].words, place / "fault-report"
        environment, before = {"LD_PRELOAD": self.alloc}, ()
        if failure == "memory":
            environment.update(DART_FAULT_COMMAND=words[0], DART_FAULT_AT=str(at), DART_FAULT_REPORT=str(report))
            if trace:
                environment["DART_FAULT_TRACE"] = "1"
        else:
            before = (self.syscalls, str(at), failure, str(report))
            environment = {}
            before = (*before, "/usr/bin/env", f"LD_PRELOAD={self.alloc}")
        done = lab.run(place, words, environment, before, labs.COMMANDS[key].drivers)
        text = report.read_text() if report.exists() else ""
        first, _, rest = text.partition("\n")
        fields = first.split(" ", 2)
        count, failed = (int(fields[0]), fields[1] == "1") if len(fields) > 1 else (0, True)
        where = (fields[2] if len(fields) > 2 else "memory") + ("\n" + rest if trace else "")
        if done.code > 128:
            done.code = 128 - done.code
        return done, count, where.replace(str(place), "") if failed else ""


def judge(lab, shims, key, failure, at, trace=False):
    """One trial; None where no call was the k-th."""
    command, tally = labs.COMMANDS[key], labs.Tally()
    expected = lab.undisturbed(key)
    place = lab.folder(command)
    try:
        done, _, where = shims.run(lab, place, key, failure, at, trace)
        if not where:
            return None
        tally.trials = 1
        what = f"{key}, {failure}, call {at} ({where.strip()})"
        last = f"exit code {done.code}: {done.err.strip()[-300:]}"
        wanted = (4,) if failure == "memory" else (6, 1) if command.name == "sweep" else (6,)
        # The kernel goes on by itself with the program's own streams: its signal handlers ask for that (SA_RESTART).
        if failure == "EINTR" and not ("pipe:" in where or "/source-2.txt" in where):
            wanted = ()
        if trace:
            print(f"{what}\n{last}")
        if done.code < 0:
            tally.note("crashes", f"{what}: {last}")
        elif done.code not in (0, *wanted):
            tally.note("wrong exit codes", f"{what}: {last}")
        if done.code == 0:
            got = lab.result(command, place, done)
            different = [name for name in expected if got[name] != expected[name]]
            if different:
                tally.note("wrong exit codes", f"{what}: exit code 0, and {', '.join(different)} differ")
        elif done.code > 0 and len(done.sentences) != 1:
            tally.note("wrong sentences", f"{what}: {last}")
        if done.code:
            labs.judge_end(lab, key, place, tally, what, last)
        return tally
    finally:
        shutil.rmtree(place)


def count_of(lab, shims, key, failure):
    place = lab.folder(labs.COMMANDS[key])
    done, count, _ = shims.run(lab, place, key, failure, 0)
    shutil.rmtree(place)
    if done.code == SKIPPED:
        print(f"skipped: processes may not be traced here\n{done.err}")
        sys.exit(SKIPPED)
    if done.code or not count:
        sys.exit(f"{key}: exit code {done.code} and {count} calls counted with nothing failing\n{done.err}")
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("alloc", "syscalls"))
    parser.add_argument("program")
    parser.add_argument("shims")
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--commands", default=",".join(labs.COMMANDS))
    parser.add_argument("--failures", default=",".join(FAILURES))
    parser.add_argument("--at", type=int)
    given = parser.parse_args()
    lab, shims, total = labs.Lab(given.program), Shims(given.shims), labs.Tally()
    for needed in (shims.alloc, shims.syscalls):
        if not os.path.exists(needed):
            sys.exit(f"{needed} is missing: SHIMS is the folder tests/ of a whole build")
    keys = [key for key in given.commands.split(",") if given.kind == "alloc" or not labs.COMMANDS[key].drivers]
    failures = ["memory"] if given.kind == "alloc" else given.failures.split(",")
    with concurrent.futures.ThreadPoolExecutor(given.jobs) as pool:
        groups = [(key, failure) for key in keys for failure in failures]
        begin = labs.clock()
        for i, (key, failure) in enumerate(groups):
            lab.undisturbed(key)
            count = count_of(lab, shims, key, failure)
            order = list(range(1, count + 1))
            if given.at:
                order = [given.at]
            elif given.seconds: # a spread sample, whatever its length comes to
                order.sort(key=lambda k: int(f"{k:032b}"[::-1], 2))
            end = begin + given.seconds * (i + 1) / len(groups) if given.seconds else float("inf")
            part, lost = labs.Tally(), 0
            for tally in pool.map(lambda k: judge(lab, shims, key, failure, k, bool(given.at))
                                  if labs.clock() < end or k == order[0] else False, order):
                if tally:
                    part.add(tally)
                lost += tally is None
            print(f"{key}, {failure}: {count} calls, {part}" + (f", {lost} not reached" if lost else ""), flush=True)
            total.add(part)
    lab.close()
    print(f"{given.kind}: {total}")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
