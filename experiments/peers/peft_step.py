"""Steps of LoRA fine-tuning with PEFT; prints one line of JSON: seconds of each step, its losses, versions.
usage: peft_step.py MODEL [--rank 8] [--batch 2] [--context 256] [--steps 6] [--threads 2] [--attention sdpa] [--compile]
MODEL: a GGUF file or a folder of Hugging Face. Without dropout, on random tokens, f32, AdamW with fused updates."""
import argparse
import json
import os
import pathlib
import time

os.environ["HF_HUB_OFFLINE"] = "1"
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("--rank", type=int, default=8)
parser.add_argument("--batch", type=int, default=2)
parser.add_argument("--context", type=int, default=256)
parser.add_argument("--steps", type=int, default=6)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--attention", default="sdpa")
parser.add_argument("--compile", action="store_true")
args = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(args.threads)

import peft
import torch
import transformers

torch.set_num_threads(args.threads)
torch.manual_seed(1)
where = (args.model.parent, {"gguf_file": args.model.name}) if args.model.is_file() else (args.model, {})
model = transformers.AutoModelForCausalLM.from_pretrained(
    where[0], dtype=torch.float32, attn_implementation=args.attention, **where[1])
model = peft.get_peft_model(model, peft.LoraConfig(
    r=args.rank, lora_alpha=2 * args.rank, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"))
model.config.use_cache = False
model.train()
trained = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
forward = torch.compile(model) if args.compile else model
tokens = torch.randint(0, model.config.vocab_size, (args.steps, args.batch, args.context))
seconds, losses = [], []
for batch in tokens:
    begin = time.perf_counter()
    loss = forward(input_ids=batch, labels=batch).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
    seconds.append(time.perf_counter() - begin)
print(json.dumps({"seconds": seconds, "losses": losses, "trained": sum(p.numel() for p in trained),
                  "torch": torch.__version__, "transformers": transformers.__version__,
                  "peft": peft.__version__}))
