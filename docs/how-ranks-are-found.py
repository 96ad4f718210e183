#!/usr/bin/env python3
"""What the logs of a run say of its selections, worked out anew from its singular values.

  docs/how-ranks-are-found.py RUN

Reads spectra.jsonl, metrics.jsonl and table.json, prints what each selection cut and what it cost, and fails where the
program's figures are not what the formulas of how-ranks-are-found.md give. Only the Python standard library is needed.
"""
import collections
import json
import math
import pathlib
import sys

LOGGED = 2e-5  # singular values are logged with six digits


def lines(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def spectra_of(run):
    """step -> weight -> bond -> singular values"""
    found = collections.defaultdict(lambda: collections.defaultdict(dict))
    for line in lines(run / "spectra.jsonl"):
        found[line["step"]][line["weight"]][line["bond"]] = line["sigma"]
    return found


def selections_of(run):
    """(step, stage) -> weight -> line of the selection"""
    found = collections.defaultdict(dict)
    for line in lines(run / "metrics.jsonl"):
        if line.get("event") == "ranks" and "cut_error" in line:
            found[line["step"], line["stage"]][line["weight"]] = line
    return found


def squares(sigma):
    return sum(s * s for s in sigma)


def effective_rank(sigma):
    """exp of the entropy of the parts that directions have in the sum of squares (Roy and Vetterli 2007)"""
    parts = [s * s / squares(sigma) for s in sigma if s > 0]
    return math.exp(-sum(p * math.log(p) for p in parts))


def lower_half(sigma):
    """the part of the norm that the smaller half of the directions holds"""
    return math.sqrt(squares(sigma[len(sigma) // 2:]) / squares(sigma))


def close(got, want, within, what):
    if not abs(got - want) <= within * max(abs(want), 1e-3):
        sys.exit(f"{what}: the log has {got:.7g}, the formula gives {want:.7g}")


def check_weight(name, line, bonds):
    """The cut of one weight: all unfoldings have one norm, the bound is that of the tails, and the error is below it."""
    norm = math.sqrt(squares(bonds[0]))
    tails = 0
    for bond, sigma in bonds.items():
        close(math.sqrt(squares(sigma)), norm, LOGGED, f"{name}, bond {bond}: norm")
        kept = line["ranks"][bond] if line["ranks"] else 0  # a chain that was lost
        tails += squares(sigma[kept:])
    bound = math.sqrt(tails) / norm if line["ranks"] else 1
    close(line["cut_error_bound"], bound, 1e-4, f"{name}: bound of the error")
    if line["cut_error"] > line["cut_error_bound"] * (1 + 1e-6) + 1e-7:
        sys.exit(f"{name}: the error {line['cut_error']} is above its bound {line['cut_error_bound']}")
    return line["cut_error"], bound


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    run = pathlib.Path(sys.argv[1])
    try:
        spectra, selections = spectra_of(run), selections_of(run)
        table = json.loads((run / "table.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"{run} is no run that has ended: {error}")
    before = [row for row in table if "before" in row["name"]]
    checked = 0
    for number, ((step, stage), cut) in enumerate(selections.items()):
        every = [sigma for bonds in spectra[step].values() for sigma in bonds.values()]
        effective = sum(map(effective_rank, every)) / len(every)
        if number < len(before):
            close(before[number]["effective_rank"], effective, LOGGED, f"step {step}: effective rank")
        print(f"step {step}, {stage}: effective rank {effective:.2f}, smaller half of the directions "
              f"{sum(map(lower_half, every)) / len(every):.3f} of the norm")
        print("| weight | ranks | kept | parameters | kept | error | at most |\n| --- | --- | --- | ---: | ---: | ---: | ---: |")
        for name, line in cut.items():
            error, bound = check_weight(name, line, spectra[step][name])
            checked += 1
            print(f"| {name} | {' '.join(map(str, line['ranks_before']))} | {' '.join(map(str, line['ranks'])) or 'lost'} | "
                  f"{line['params_before']:,} | {line['params']:,} | {error:.3f} | {bound:.3f} |")
    print("| model | parameters in trains | valid perplexity | test perplexity |\n| --- | ---: | ---: | ---: |")
    for row in table:
        print(f"| {row['name']} | {row['chain_params']:,} | {row['valid_ppl']:.1f} | {row['test_ppl']:.1f} |")
    if not checked:
        sys.exit(f"{run}: no selection is in its log")
    print(f"{checked} weights in {len(selections)} selections are as the formulas give")


if __name__ == "__main__":
    try:
        main()
    except (TypeError, KeyError, IndexError, ZeroDivisionError) as error:
        sys.exit(f"{sys.argv[1]}: a line of its logs is damaged ({type(error).__name__}: {error})")
