"""Seconds of processor time that a step of classification takes, here and with PEFT, on the same texts.

usage: glue.py DART_LLM ENCODER GLUE [--tasks sst2,mrpc,rte,cola] [--steps 40] [--rounds 2] [--shapes 1,8]
  ENCODER  a Hugging Face folder of a bert model (all-minilm-l6-v2)
  GLUE     the folder of its tasks (datasets/fetch glue)
  --shapes programs by length of the texts that our run has, several values: length_shapes

LoRA of rank 4 on all linear layers, head and pooler trained, the same batch, context and number of steps. PEFT pads each batch to
its longest text (as DataCollatorWithPadding does); ours runs it in the shortest program that holds it. Both read the texts in
an order of their own. Times are user and system seconds of the process: of ours those of a run with all steps less
those of one with few, so that neither start nor evaluation counts; of PEFT those around the steps after the first
three. Runs alternate, and the least of all rounds counts. Two threads. Needs torch, transformers, peft."""
import argparse
import gzip
import json
import os
import pathlib
import resource
import subprocess
import tempfile
import time

import peft
import torch
import transformers

TASKS = {  # file, header, columns of label, text and second text, batch, context
    "sst2": ("SST-2/train.tsv", 1, 1, 0, None, 16, 32),
    "cola": ("CoLA/train.tsv", 0, 1, 3, None, 16, 32),
    "mrpc": ("MRPC/msr_paraphrase_train.txt", 1, 0, 3, 4, 8, 96),
    "rte": ("RTE/train.tsv", 1, 3, 1, 2, 8, 128)}
FEW = 4


def read(glue, task):
    name, header, label, first, second, *_ = TASKS[task]
    path = pathlib.Path(glue) / name
    data = gzip.open(f"{path}.gz") if not path.exists() else open(path, "rb")
    with data:
        lines = data.read().decode("utf-8-sig").splitlines()[header:]
    for line in lines:
        cells = line.split("\t")
        row = {"text": cells[first], "label": cells[label]}
        yield row | ({"text_pair": cells[second]} if second is not None else {})


def theirs(given, task, rows, batch, context):
    torch.manual_seed(1)
    torch.set_num_threads(2)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(given.encoder / "tokenizer.json"),
                                                     pad_token="[PAD]")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(given.encoder, num_labels=2)
    config = peft.LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=4, lora_dropout=0.0,
                             target_modules=r".*encoder\.layer.*\.(query|key|value|dense)",
                             modules_to_save=["classifier", "pooler"])
    model = peft.get_peft_model(model, config).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    names = sorted({row["label"] for row in rows})
    order = torch.randperm(len(rows)).tolist()
    for step in range(given.steps + 3):
        if step == 3:
            begin, wall = time.process_time(), time.time()
        chosen = [rows[order[(step * batch + i) % len(order)]] for i in range(batch)]
        pairs = [row.get("text_pair") for row in chosen] if "text_pair" in chosen[0] else None
        inputs = tokenizer([row["text"] for row in chosen], pairs, truncation="longest_first", max_length=context,
                           padding="longest", return_tensors="pt")
        labels = torch.tensor([names.index(row["label"]) for row in chosen])
        model(**inputs, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return (time.process_time() - begin) / given.steps


def seconds(given, work, batch, context, steps, shapes):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([given.dart, "finetune", "--base", given.encoder, "--data", work / "train.jsonl", "--valid-examples",
                    work / "few.jsonl", "--method", "lora", "--rank", "4", "--lora-alpha", "4", "--dropout", "0",
                    "--batch-size", str(batch), "--context", str(context), "--max-steps", str(steps),
                    "--length-shapes", shapes, "--spectra-steps", "0", "--eval-selections", "false", "--device", "cpu",
                    "--out", work / "run", "--force", "--quiet"], check=True, stdout=subprocess.DEVNULL, env=os.environ | {"DART_THREADS": "2"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dart")
    parser.add_argument("encoder", type=pathlib.Path)
    parser.add_argument("glue")
    parser.add_argument("--tasks", default="sst2,mrpc,rte,cola")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--shapes", default="1,8")
    given = parser.parse_args()
    shapes = given.shapes.split(",")
    print("| task | batch x context | " + " | ".join(f"ours, {s} program{'s' * (s != '1')}" for s in shapes) +
          " | PEFT | ours to PEFT |\n| --- | --- |" + " ---: |" * (len(shapes) + 2))
    for task in given.tasks.split(","):
        batch, context = TASKS[task][5:]
        rows = list(read(given.glue, task))
        with tempfile.TemporaryDirectory() as folder:
            work = pathlib.Path(folder)
            (work / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            (work / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:16]))
            found = {name: [] for name in [*shapes, "peft"]}
            for _ in range(given.rounds):
                for shape in shapes:
                    few = seconds(given, work, batch, context, FEW, shape)
                    found[shape].append((seconds(given, work, batch, context, FEW + given.steps, shape) - few) / given.steps)
                found["peft"].append(theirs(given, task, rows, batch, context))
        least = {name: min(values) for name, values in found.items()}
        print(f"| {task} | {batch} x {context} | " + " | ".join(f"{least[s]:.3f}" for s in shapes) +
              f" | {least['peft']:.3f} | {least[shapes[-1]] / least['peft']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
