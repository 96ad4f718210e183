"""Writes expected.json from what sacreBLEU says of ref0.txt, ref1.txt and hyp.txt, for tests/train/test_bleu.c:
    python3 -m venv /tmp/v && /tmp/v/bin/pip install sacrebleu && /tmp/v/bin/python tests/tasks/score/bleu/expected.py"""
import json
import os

import sacrebleu
from sacrebleu.metrics import BLEU
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

here = os.path.dirname(os.path.abspath(__file__))


def lines(name):
    with open(os.path.join(here, name), encoding="utf-8", newline="\n") as file:
        return file.read().split("\n")[:-1]


first, second, hypothesis = lines("ref0.txt"), lines("ref1.txt"), lines("hyp.txt")
spans = [(0, len(hypothesis))] + [(i, 7) for i in range(0, len(hypothesis) - 6, 3)]
spans += [(i, 1) for i in range(len(hypothesis))]
cases = []
for start, count in spans:
    for references in ([first], [second], [first, second]):
        for lowercase in (False, True):
            for tokenize in ("13a", "none"):
                metric = BLEU(lowercase=lowercase, tokenize=tokenize)
                score = metric.corpus_score(
                    hypothesis[start:start + count], [r[start:start + count] for r in references])
                cases.append({
                    "start": start, "count": count, "first": int(first in references),
                    "second": int(second in references), "lowercase": lowercase, "raw": tokenize == "none",
                    "score": score.score, "bp": score.bp, "precisions": score.precisions,
                    "correct": [int(c) for c in score.counts], "total": [int(t) for t in score.totals],
                    "hyp_len": score.sys_len, "ref_len": score.ref_len})
words = {name: [Tokenizer13a()(line.rstrip()) for line in lines(name)] for name in ("ref0.txt", "ref1.txt", "hyp.txt")}
with open(os.path.join(here, "expected.json"), "w", encoding="utf-8") as out:
    out.write('{"sacrebleu": "%s",\n"words": %s,\n"cases": [\n' % (sacrebleu.__version__, json.dumps(words)))
    out.write(",\n".join(json.dumps(c) for c in cases))
    out.write("\n]}\n")
