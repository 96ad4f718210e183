"""The mean negative log-likelihood of stories260K on TinyStories, which an independent forward pass has as 1.4499.

usage: stories.py DUMP_LOGITS PROGRAM MODELS/stories260K tiny_stories.txt.gz
Stories with other letters than ASCII are left out, blank lines between paragraphs become line ends, as in the text that the
model was trained on; the start token first, at most 512 tokens of each story are scored."""
import concurrent.futures
import gzip
import os
import pathlib
import re
import subprocess
import sys

import numpy as np

if len(sys.argv) != 5:
    sys.exit(__doc__)
dump, program, model = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
text = gzip.open(sys.argv[4]).read().decode()
stories = [part.strip().replace("\n\n", "\n") for part in re.split(r"(?<!\n)\n(?!\n)", text) if part.strip()]
stories = [story for story in stories if story.isascii()]
environment = {**os.environ, "DART_THREADS": "1", "DUMP_CONTEXT": "512"}


def score(story):
    """Sum of the negative log-likelihoods, and how many tokens were scored."""
    words = [program, "tokenizer", "encode", "--tokenizer", model / "tok512.bin"]
    ids = subprocess.run(words, input=story, capture_output=True, text=True, check=True).stdout.split()
    ids = [1, *(int(i) for i in ids if i != "1")][:513]
    words = [dump, model / "stories260K.bin", "cpu", *map(str, ids[:-1])]
    data = subprocess.run(words, capture_output=True, check=True, env=environment).stdout
    logits = np.frombuffer(data, "<f4").reshape(len(ids) - 1, -1).astype(np.float64)
    top = logits.max(1, keepdims=True)
    total = np.log(np.exp(logits - top).sum(1)) + top[:, 0]
    return (total - logits[np.arange(len(ids) - 1), ids[1:]]).sum(), len(ids) - 1


with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    results = list(pool.map(score, stories))
tokens = sum(count for _, count in results)
mean = sum(value for value, _ in results) / tokens
print(f"stories260K: {len(stories)} stories, {tokens} tokens, {mean:.5f} nats a token")
sys.exit(not (tokens == 372977 and abs(mean - 1.4499) < 1e-4))
