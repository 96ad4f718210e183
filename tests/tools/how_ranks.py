#!/usr/bin/env python3
"""docs/how-ranks-are-found.py on a run of its own: it agrees with the logs as they are, and not with logs that were changed.

  how_ranks.py PROGRAM SOURCE
"""
import pathlib
import re
import subprocess
import sys
import tempfile

STAGES = """model: {layers: 2, d_model: 32, heads: 2, context: 16, dropout: 0}
method: {linear: tt, embedding: tt-embedding, rank: 12}
train: {batch_size: 4}
run: {device: cpu, save_steps: 0}
stages:
  - {name: shrink, max_steps: 40, learning_rate: 1e-2, reg: log-det}
  - {name: first, select: budget, budget: 0.6}
  - {name: again, max_steps: 40, learning_rate: 1e-2, reg: log-det}
  - {name: pick, select: threshold, threshold: 0.2}
  - {name: tune, max_steps: 20, learning_rate: 1e-2, reg: none}
"""


def main():
    program, source = sys.argv[1], pathlib.Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        words = [f"w{i * i % 97} x{i % 13} y{i % 7}" for i in range(1500)]
        (folder / "text.txt").write_text("\n".join(words) + "\n")
        (folder / "recipe.yaml").write_text(STAGES)
        run = folder / "run"
        subprocess.run([program, "train", "--config", folder / "recipe.yaml", "--text", folder / "text.txt", "--out", run, "--quiet"],
                       check=True, stdout=subprocess.DEVNULL)

        def check():
            return subprocess.run([sys.executable, source / "docs" / "how-ranks-are-found.py", run], capture_output=True, text=True)

        whole = check()
        assert whole.returncode == 0, whole.stderr
        assert "26 weights in 2 selections are as the formulas give" in whole.stdout, whole.stdout
        log = run / "metrics.jsonl"
        text = log.read_text()
        for key, factor in (("cut_error_bound", 0.5), ("cut_error_bound", 1.01), ("cut_error", 3)):
            log.write_text(re.sub(rf'"{key}":([0-9.e-]+)', lambda m: f'"{key}":{float(m[1]) * factor:.9g}', text))
            changed = check()
            assert changed.returncode != 0 and ("bound" in changed.stderr), (key, factor, changed.stderr)
        log.write_text(text)
        spectra = run / "spectra.jsonl"
        spectra.write_text(re.sub(r'"sigma":\[([0-9.]+)', lambda m: f'"sigma":[{float(m[1]) * 1.1:.6g}', spectra.read_text()))
        assert check().returncode != 0
    print("the script agrees with the logs, and with none of four that were changed")


if __name__ == "__main__":
    main()
