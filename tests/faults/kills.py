"""Kills training and sweeps (SIGKILL) at random moments, several times in a row, and goes on to the end.

usage: kills.py PROGRAM [--trials N] [--seconds S] [--seed S] [--commands train,resume,sweep]
Expected: the last call ends with the weights, moments and logs of an undisturbed run, from the newest checkpoint there was."""
import argparse
import random
import shutil
import subprocess
import sys

import lab as labs


def duration(lab, key):
    lab.undisturbed(key)
    place, begin = lab.folder(labs.COMMANDS[key]), labs.clock()
    lab.run(place, labs.COMMANDS[key].words)
    shutil.rmtree(place)
    return labs.clock() - begin


def kill(lab, key, place, after):
    """Starts the command, or goes on with it; whether it lived until it was killed."""
    process = lab.start(place, lab.next_words(key, place))
    try:
        code = process.wait(after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True, None
    return False, code


def trial(lab, key, seed, longest, tally):
    chance = random.Random(seed)
    place, kills = lab.folder(labs.COMMANDS[key]), 0
    for _ in range(1 + chance.randrange(3)):
        killed, code = kill(lab, key, place, chance.uniform(0, longest))
        kills += killed
        if code:
            tally.note("unresumable runs", f"{key}, seed {seed}: exit code {code} after {kills} kills")
            break
    else:
        labs.judge_end(lab, key, place, tally, f"{key}, seed {seed}", f"{kills} kills")
    shutil.rmtree(place)
    tally.trials += 1
    return kills


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--commands", default="train,resume,sweep")
    given = parser.parse_args()
    lab, tally, kills = labs.Lab(given.program), labs.Tally(), 0
    keys = given.commands.split(",")
    longest, begin = {key: duration(lab, key) for key in keys}, labs.clock()
    for seed in range(given.seed, given.seed + given.trials):
        if given.seconds and labs.clock() - begin > given.seconds:
            break
        key = keys[seed % len(keys)]
        kills += trial(lab, key, seed, longest[key], tally)
    lab.close()
    print(f"kills: {kills} kills, {tally}")
    return 1 if tally.failed or not kills else 0


if __name__ == "__main__":
    sys.exit(main())
