"""Reads what `dart-llm report --tensorboard --csv` wrote with programs that are not ours: TensorBoard's own reader, a
CRC-32C of our own for the records, Python's csv. usage: exports.py DART_LLM FOLDER"""
import csv
import glob
import json
import math
import os
import struct
import subprocess
import sys

program, folder = sys.argv[1:3]
run = os.path.join(folder, 'a run, "quoted"')
lines = []
for step in range(1, 31):
    lines.append({"step": step, "stage": "one", "loss": 5 - 0.1 * step, "lr": 0.01 / step, "grad_norm": 1.25,
                  "something_new": step * step})
    if step % 10 == 0:
        lines.append({"step": step, "stage": "one", "valid_nll": 4.5 - 0.1 * step, "valid_ppl": math.exp(4.5 - 0.1 * step)})
lines.append({"step": 31, "stage": "one", "loss": None})
spectra = [{"step": step, "weight": "blocks.0.attn.q", "bond": bond, "sigma": [3.0, 1.5, 0.25 / step, 1e-9]}
           for step in (10, 20, 30) for bond in (0, 1)]
recipe = "train:\n  seed: 5\n"


def write(name, text):
    path = os.path.join(run, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)


write("metrics.jsonl", "".join(json.dumps(x) + "\n" for x in lines))
write("spectra.jsonl", "".join(json.dumps(x) + "\n" for x in spectra))
write("timing.jsonl", "".join(json.dumps({"step": s, "tokens_per_s": 100.0, "seconds": s / 2}) + "\n" for s in range(1, 31)))
write("dense-twin/metrics.jsonl", "".join(json.dumps(x) + "\n" for x in lines[:5]))
write("recipe.yaml", recipe)
board, tables = os.path.join(folder, "board"), os.path.join(folder, "csv")
for _ in range(2):  # a second export replaces the first
    subprocess.run([program, "report", "--tensorboard", board, "--csv", tables, run], check=True)
files = sorted(glob.glob(os.path.join(glob.escape(board), "**", "events.out.tfevents.*"), recursive=True))
assert len(files) == 2, files


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283
records = 0
for name in files:
    data = open(name, "rb").read()
    at = 0
    while at < len(data):
        size, check = struct.unpack_from("<QI", data, at)
        assert check == masked(data[at:at + 8])
        body = data[at + 12:at + 12 + size]
        assert struct.unpack_from("<I", data, at + 12 + size)[0] == masked(body)
        at += 16 + size
        records += 1
assert at == len(data)
# version and recipe, four keys a step, the loss that is none, validation, timing, histograms; the twin's version and keys
expected = (1 + 1 + 4 * 30 + 1 + 2 * 3 + 30 + 6) + (1 + 4 * 5)
assert records == expected, (records, expected)
print(f"{records} records with sound checksums")

rows = list(csv.DictReader(open(os.path.join(tables, "metrics.csv"), newline="")))
assert len(rows) == len(lines) + 5, len(rows)
for row, line in zip(rows, lines):
    assert row["run"] == os.path.basename(run) and row["row"] == "run"
    for key, value in line.items():
        if value is None:
            assert row[key] == ""
        elif key == "stage":
            assert row[key] == value
        else:
            assert float(row[key]) == value or abs(float(row[key]) / value - 1) < 1e-14, (key, row[key], value)
rows = list(csv.DictReader(open(os.path.join(tables, "spectra.csv"), newline="")))
assert len(rows) == sum(len(x["sigma"]) for x in spectra)
assert abs(sum(float(r["sigma"]) for r in rows) - sum(sum(x["sigma"]) for x in spectra)) < 1e-9
print(f"{len(rows)} rows of spectra.csv read by Python's csv")

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError:
    print("skipped: TensorBoard's reader is not installed")
    sys.exit(0)
events = EventAccumulator(os.path.dirname(max(files, key=os.path.getsize)), size_guidance={
    "scalars": 0, "histograms": 0, "tensors": 0})
events.Reload()
tags = events.Tags()
names = {"loss": "train/loss", "lr": "train/learning_rate", "grad_norm": "train/grad_norm", "valid_nll": "eval/loss",
         "valid_ppl": "eval/perplexity", "something_new": "train/something_new"}
began = int(os.stat(os.path.join(run, "recipe.yaml")).st_mtime)
checked = 0
for key, tag in names.items():
    want = [(x["step"], x[key]) for x in lines if key in x]
    got = events.Scalars(tag)
    assert [e.step for e in got] == [s for s, _ in want], tag
    for event, (step, value) in zip(got, want):
        if value is None:
            assert math.isnan(event.value)
        else:
            assert event.value == struct.unpack("<f", struct.pack("<f", value))[0], (tag, event, value)
        assert event.wall_time == began + min(step, 30) / 2
        checked += 1
assert set(tags["scalars"]) == set(names.values()) | {"perf/tokens_per_second"}, tags["scalars"]
assert sorted(tags["histograms"]) == ["spectra/blocks.0.attn.q/bond_1", "spectra/blocks.0.attn.q/bond_2"], tags
for tag in tags["histograms"]:
    got = events.Histograms(tag)
    assert [e.step for e in got] == [10, 20, 30]
    for event in got:
        h = event.histogram_value
        assert (h.min, h.max, h.num, sum(h.bucket)) == (1e-9, 3.0, 4, 4), h
        assert abs(h.sum - (4.5 + 0.25 / event.step + 1e-9)) < 1e-12
        assert list(h.bucket_limit) == sorted(h.bucket_limit)
        checked += 1
text = events.Tensors("recipe")[0].tensor_proto
assert text.string_val[0].decode() == "```\n" + recipe + "```\n"
print(f"TensorBoard's reader: {checked} values and the recipe")
