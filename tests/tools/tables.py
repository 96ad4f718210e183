"""Re-runs the reduced form of each table of experiments/ and holds its rows against experiments/bands.csv.

usage: tables.py DART_LLM REPOSITORY
A table whose data are not to be had is said to be skipped; 77 if there is none at all.
"""
import csv
import json
import pathlib
import subprocess
import sys
import tempfile

program, repository = sys.argv[1], pathlib.Path(sys.argv[2])
dataset = {"ptb": "ptb", "wikitext2": "wikitext-2", "nmt": "multi30k-de-en"}


def have(name):
    fetch = [repository / "datasets" / "fetch", name]
    return subprocess.run(fetch, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300).returncode == 0


with open(repository / "experiments" / "bands.csv", newline="") as file:
    bands = list(csv.DictReader(file))
checked = failed = skipped = 0
for sweep in dict.fromkeys(band["sweep"] for band in bands):
    rows = [band for band in bands if band["sweep"] == sweep]
    if not have(dataset[sweep]):
        print(f"{sweep}: skipped, {dataset[sweep]} is not to be had")
        skipped += len(rows)
        continue
    with tempfile.TemporaryDirectory() as folder:
        recipe = repository / "experiments" / sweep / "reduced.yaml"
        subprocess.run([program, "sweep", recipe, "--out", folder, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        for band in rows:
            with open(pathlib.Path(folder) / band["run"] / "table.json") as file:
                table = {row["name"]: row for row in json.load(file)}
            value = table[band["row"]][band["column"]]
            good = float(band["low"]) <= value <= float(band["high"])
            checked += 1
            failed += not good
            print(f"{sweep} {band['run']}, {band['row']}: {band['column']} {value:.6g}, "
                  f"expected {band['low']} to {band['high']}{'' if good else ': FAILED'}")
print(f"{checked} figures of experiment tables checked, {failed} failed, {skipped} skipped")
sys.exit(1 if failed else 0 if checked else 77)
