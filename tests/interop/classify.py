"""Classifiers of transformers against ours: ids and segments of texts and pairs, and scores.

usage: classify.py DUMP_SCORES [--dart DART_LLM] [--devices cpu,vulkan:0,opencl:0] [--models bert,llama] [--work FOLDER]
                   [--encoder FOLDER]
       classify.py --golden TEST_CLASSIFIERS
  DUMP_SCORES  build/tests/dump_scores
  --dart       also what this program exports of classifiers that it fine-tuned, read by transformers and PEFT, and adapters
               of classifiers that PEFT trained, read, trained on and written again here
  --golden     prints the scores of the models that build/tests/test_classifiers writes, for its source
  --encoder    also this pretrained encoder under a random classifier (all-minilm-l6-v2)

Needs torch, transformers, tokenizers, and peft with --dart: tests/interop/run makes them available."""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

BOUND, ADAPTED = 1e-4, 1e-5  # relative to the largest score; of adapters that PEFT trained
COMMON = dict(hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6, num_labels=3)
CONTEXT = 40


def configs():
    t = transformers
    yield "bert", t.BertConfig(**COMMON, vocab_size=400, max_position_embeddings=64, type_vocab_size=2), wordpiece
    yield "roberta", t.RobertaConfig(**COMMON, vocab_size=300, max_position_embeddings=66, type_vocab_size=1,
                                     pad_token_id=1, bos_token_id=0, eos_token_id=2), roberta_bytes
    yield "llama", t.LlamaConfig(**COMMON, vocab_size=256, num_key_value_heads=2, max_position_embeddings=64,
                                 pad_token_id=0, tie_word_embeddings=False), plain_bytes
    yield "gpt2", t.GPT2Config(vocab_size=256, n_embd=48, n_layer=3, n_head=6, n_positions=64, num_labels=3,
                               pad_token_id=0, bos_token_id=None, eos_token_id=None), plain_bytes


def wordpiece(folder):
    """Letters, and pairs of them."""
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + letters + ["##" + c for c in letters]
    words += [a + b for a in "etaoin" for b in "etaoinshrdlu"]
    tokenizer = Tokenizer(models.WordPiece(vocab={w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.add_special_tokens(words[:4])
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def byte_level(special):
    vocab = {token: i for i, token in enumerate(special + sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def roberta_bytes(folder):
    tokenizer = byte_level(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def plain_bytes(folder):
    tokenizer = byte_level([])
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def random_model(config):
    torch.manual_seed(1)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases too, so that none is 1 or 0
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def texts():
    draw = random.Random(3)
    words = "the of a no rain late it's 12.5 dog, end naive".split()
    for number in range(12):
        line = {"text": " ".join(draw.choices(words, k=draw.randint(1, 9))), "label": number % 3}
        if number % 3:
            line["text_pair"] = " ".join(draw.choices(words, k=draw.randint(1, 12)))
        yield line


def expected_ids(tokenizer, framed, line):
    """What transformers gives, cut by LongestFirst; of a decoder two texts on two lines."""
    pair = line.get("text_pair")
    if framed:
        tokenizer.enable_truncation(CONTEXT, strategy="longest_first")
        coded = tokenizer.encode(line["text"], pair) if pair else tokenizer.encode(line["text"])
        return coded.ids, coded.type_ids
    tokenizer.no_truncation()
    first, second, between = (tokenizer.encode(text, add_special_tokens=False).ids if text else []
                              for text in (line["text"], pair, pair and "\n"))
    room = CONTEXT - len(between)
    if len(first) + len(second) > room:
        short, long = sorted((first, second), key=len)
        del short[room // 2:]
        del long[room - len(short):]
    ids = first + between + second
    return ids, [0] * len(ids)


def scores_of(model, ids, types):
    inputs = {"input_ids": torch.tensor([ids])}
    if model.config.model_type in ("bert", "roberta"):
        inputs["token_type_ids"] = torch.tensor([types])
    with torch.no_grad():
        return model(**inputs).logits[0].float().tolist()


def compare(name, model, tokenizer, framed, folder, given):
    failed, lines = 0, list(texts())
    data = folder / "texts.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    expected = []
    for line in lines:
        ids, types = expected_ids(tokenizer, framed, line)
        expected.append((ids, types, scores_of(model, ids, types)))
    largest = max(abs(s) for e in expected for s in e[2])
    for device in given.devices.split(","):
        done = subprocess.run([given.program, str(folder), device, str(data), str(CONTEXT)], capture_output=True, text=True)
        got = [json.loads(line) for line in done.stdout.splitlines()]
        same = sum(g["ids"] == e[0] and g["types"] == e[1] for g, e in zip(got, expected))
        error = max((abs(a - b) for g, e in zip(got, expected) for a, b in zip(g["scores"], e[2])), default=9) / largest
        print(f"{name}, {device}: {same} of {len(expected)} texts have the same tokens, largest error {error:.1e} of the "
              f"largest score {largest:.2f} {done.stderr.strip()}")
        failed += done.returncode != 0 or same != len(expected) or len(got) != len(expected) or not error <= BOUND
    return failed


NAMES = ["low", "mid", "top"]
TUNED = {"lora": ["--method", "lora"], "tt-lora": ["--method", "tt-lora"], "dota": ["--method", "dota"],
         "dora": ["--method", "lora", "--use-dora", "true"], "full": ["--method", "dense"],
         "attention": ["--method", "lora", "--target-modules", "attention"]}


def run(*words, good=True):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if good and done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stderr}")
    return done


def scores_of_ours(program, model, data, adapter=None, device="cpu"):
    words = ["--adapter", adapter] if adapter else []
    done = run(program, *words, model, device, data, CONTEXT)
    return [json.loads(line)["scores"] for line in done.stdout.splitlines()]


def labelled(work):
    lines = [line | {"label": NAMES[line["label"]]} for line in texts()]
    for name, times in ("labelled", 4), ("few", 1):
        (work / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines * times))
    return lines, work / "labelled.jsonl", work / "few.jsonl"


def apart(got, expected):
    assert len(got) == len(expected) > 5
    largest = max(abs(s) for row in expected for s in row)
    return max(abs(a - b) for g, e in zip(got, expected) for a, b in zip(g, e)) / largest


def adapter_kinds(name):
    """Settings of PEFT: what has pairs, and what is kept whole beside `classifier` and `score`."""
    few = ["query", "value"] if name in ("bert", "roberta") else ["c_attn"] if name == "gpt2" else ["q_proj", "v_proj"]
    yield "few", dict(r=4, lora_alpha=8, target_modules=few)
    yield "all", dict(r=3, lora_alpha=7, target_modules="all-linear", use_rslora=True)  # of bert its pooler too
    if name == "bert":
        yield "pooler", dict(r=2, lora_alpha=2, target_modules=few, modules_to_save=["pooler"])


def trained_by_peft(base, folder, settings, name, lines, ids):
    """A few steps of PEFT, saved."""
    import peft

    torch.manual_seed(4)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=3, dtype=torch.float32)
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="SEQ_CLS", fan_in_fan_out=name == "gpt2", **settings))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=3e-2)
    for line, (tokens, types) in list(zip(lines, ids)) * 2:
        inputs = {"input_ids": torch.tensor([tokens]), "labels": torch.tensor([NAMES.index(line["label"])])}
        if name in ("bert", "roberta"):
            inputs["token_type_ids"] = torch.tensor([types])
        model(**inputs).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)


def scores_by_peft(base, folder, ids, scale=1):
    import peft

    torch.manual_seed(5)  # another random head than the one saved
    under = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=3, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(under, folder).eval()
    for module in model.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            module.scaling = {key: value * scale for key, value in module.scaling.items()}
    return [scores_of(model, *one) for one in ids]


def adapted(name, base, framed, given, work):
    """Adapters of classifiers that PEFT trained, beside their base here: how many cases, and how many failed."""
    cases = failed = 0
    lines, data, few = labelled(work)
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    ids = [expected_ids(tokenizer, framed, line) for line in lines]
    for kind, settings in adapter_kinds(name):
        folder, again, tuned = (work / f"{name}-adapter-{kind}{tail}" for tail in ("", "-again", "-tuned"))
        trained_by_peft(base, folder, settings, name, lines, ids)
        expected, without = scores_by_peft(base, folder, ids), scores_by_peft(base, folder, ids, 0)
        found = {device: apart(scores_of_ours(given.program, base, few, folder, device), expected)
                 for device in given.devices.split(",")}
        # a scale is that of the pairs; the head stays
        found["scale 0.5"] = apart(scores_of_ours(given.program, base, few, f"{folder}=0.5"),
                                   scores_by_peft(base, folder, ids, 0.5))
        found["scale 0"] = apart(scores_of_ours(given.program, base, few, f"{folder}=0"), without)
        run(given.dart, "export", base, "--adapter", folder, "--format", "peft", "--out", again, "--quiet")
        found["exported"] = apart(scores_by_peft(base, again, ids), expected)
        run(given.dart, "finetune", "--base", base, "--adapter", folder, "--data", data, "--max-steps", 4, "--context",
            CONTEXT, "--learning-rate", "1e-2", "--device", "cpu", "--out", tuned, "--quiet")
        after = scores_of_ours(given.program, tuned, few)
        found["the run beside its base"] = apart(scores_of_ours(given.program, base, few, tuned), after)
        run(given.dart, "export", tuned, "--format", "peft", "--out", tuned / "peft", "--quiet")
        found["trained on"] = apart(scores_by_peft(base, tuned / "peft", ids), after)
        moved, learnt = apart(without, expected), apart(after, expected)
        cases += len(found) + 1
        failed += sum(not value <= ADAPTED for value in found.values()) + (not (moved > 1e-2 and learnt > 1e-2))
        print(f"{name}, adapter {kind} of PEFT: " + ", ".join(f"{what} {value:.1e}" for what, value in found.items()) +
              f"; its pairs move scores by {moved:.1e}, training on by {learnt:.1e}", flush=True)
    return cases, failed


def exported(name, base, framed, given, work):
    """Fine-tuned here, exported, read there: how many cases, and how many failed."""
    import peft

    cases = failed = 0
    lines, data, few = labelled(work)
    auto = transformers.AutoModelForSequenceClassification
    for method, words in TUNED.items():
        for pooler in ("new", "base") if name == "bert" else ("new",):
            model = work / f"{name}-{method}-{pooler}"
            run(given.dart, "finetune", "--base", base, "--data", data, "--rank", 3, "--max-steps", 6, "--learning-rate",
                "3e-2", "--context", CONTEXT, "--device", "cpu", "--pooler", pooler, "--out", model, "--quiet", *words)
            expected = scores_of_ours(given.program, model, few)
            assert len(expected) == len(lines) > 5
            largest = max(abs(s) for row in expected for s in row)
            whole = run(given.dart, "export", model, "--format", "hf", "--out", model / "hf")
            read = auto.from_pretrained(model / "hf", dtype=torch.float32)
            found = {"hf": (read, model / "hf")}
            assert read.config.id2label == dict(enumerate(NAMES)), read.config.id2label
            pair = run(given.dart, "export", model, "--format", "peft", "--out", model / "peft", good=False)
            if method == "full":
                assert pair.returncode == 3, pair.stderr
            else:
                assert not pair.returncode, pair.stderr
                # other random heads than the ones saved
                under = auto.from_pretrained(base, num_labels=3, dtype=torch.float32)
                found["peft"] = (peft.PeftModel.from_pretrained(under, model / "peft"), base)
            for kind, (theirs, tokens) in found.items():
                tokenizer = Tokenizer.from_file(str(tokens / "tokenizer.json"))
                got = [scores_of(theirs.eval(), *expected_ids(tokenizer, framed, line)) for line in lines]
                error = max(abs(a - b) for g, e in zip(got, expected) for a, b in zip(g, e)) / largest
                again = scores_of_ours(given.program, tokens, few) if kind == "hf" else expected
                back = max(abs(a - b) for g, e in zip(again, expected) for a, b in zip(g, e)) / largest
                cases += 1
                failed += not (error <= BOUND and back <= BOUND)
                print(f"{name}, {method}, pooler {pooler}, {kind}: largest error {error:.1e} of the largest score "
                      f"{largest:.2f}; read back here {back:.1e}")
    refused = run(given.dart, "export", model, "--format", "gguf", "--out", model / "gguf", good=False)
    assert refused.returncode == 3 and "llama.cpp" in refused.stderr, refused.stderr
    return cases, failed


def golden(program):
    """The models of a test in C, as its source has their scores."""
    with tempfile.TemporaryDirectory() as work:
        subprocess.run([program, "--write", work], check=True)
        lines = [json.loads(line) for line in (pathlib.Path(work) / "lines.jsonl").read_text().splitlines()]
        for name in ("bert", "roberta", "llama"):
            folder = pathlib.Path(work) / name
            model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            rows = []
            for line in lines:
                ids, types = expected_ids(tokenizer, name != "llama", line)
                rows.append("{" + ", ".join(f"{s:.9g}" for s in scores_of(model, ids, types)) + "}")
            print("    {" + ", ".join(rows) + "},")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?")
    parser.add_argument("--dart")
    parser.add_argument("--golden")
    parser.add_argument("--devices", default="cpu,vulkan:0,opencl:0")
    parser.add_argument("--models", default="bert,roberta,llama,gpt2")
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--encoder", type=pathlib.Path)
    given = parser.parse_args()
    if given.golden:
        return golden(given.golden)
    failed, cases = 0, 0
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # heads that are not in the files, which is meant
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or pathlib.Path(scratch)
        for name, config, make in configs():
            if name not in given.models.split(","):
                continue
            folder = work / name
            model = random_model(config)
            model.save_pretrained(folder)
            tokenizer = make(folder)
            failed += compare(name, model, tokenizer, name in ("bert", "roberta"), folder, given)
            cases += len(given.devices.split(","))
            if given.dart:
                base = work / f"{name}-base"
                config.num_labels = 2
                torch.manual_seed(2)
                framed = name in ("bert", "roberta")
                kind = transformers.AutoModel if framed else transformers.AutoModelForCausalLM
                kind.from_config(config).save_pretrained(base)
                make(base)
                for check in exported, adapted:
                    more = check(name, base, framed, given, work)
                    cases, failed = cases + more[0], failed + more[1]
        if given.encoder:
            folder = work / "encoder"
            torch.manual_seed(1)
            model = transformers.AutoModelForSequenceClassification.from_pretrained(given.encoder, num_labels=3).eval()
            with torch.no_grad():
                model.classifier.weight.mul_(20)
            model.save_pretrained(folder)
            tokenizer = Tokenizer.from_file(str(given.encoder / "tokenizer.json"))
            tokenizer.no_padding()
            tokenizer.save(str(folder / "tokenizer.json"))
            failed += compare(given.encoder.name, model, tokenizer, True, folder, given)
            cases += len(given.devices.split(","))
    print(f"classify: {cases} cases, {failed} failed")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
