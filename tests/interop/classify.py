"""Classifiers of transformers against ours: ids and segments of texts and pairs, and scores.

usage: classify.py DUMP_SCORES [--dart DART_LLM] [--devices cpu,vulkan:0,opencl:0] [--work FOLDER] [--encoder FOLDER]
       classify.py --golden TEST_CLASSIFIERS
  DUMP_SCORES  build/tests/dump_scores
  --dart       also what this program exports of classifiers that it fine-tuned, read by transformers and PEFT
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

BOUND = 1e-4  # relative to the largest score
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


def scores_of_ours(program, model, data):
    done = run(program, model, "cpu", data, CONTEXT)
    return [json.loads(line)["scores"] for line in done.stdout.splitlines()]


def exported(name, base, framed, given, work):
    """Fine-tuned here, exported, read there: how many cases, and how many failed."""
    import peft

    cases = failed = 0
    lines = [line | {"label": NAMES[line["label"]]} for line in texts()]
    data = work / "labelled.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines * 4))
    (work / "few.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    auto = transformers.AutoModelForSequenceClassification
    for method, words in TUNED.items():
        for pooler in ("new", "base") if name == "bert" else ("new",):
            model = work / f"{name}-{method}-{pooler}"
            run(given.dart, "finetune", "--base", base, "--data", data, "--rank", 3, "--max-steps", 6, "--learning-rate",
                "3e-2", "--context", CONTEXT, "--device", "cpu", "--pooler", pooler, "--out", model, "--quiet", *words)
            expected = scores_of_ours(given.program, model, work / "few.jsonl")
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
                again = scores_of_ours(given.program, tokens, work / "few.jsonl") if kind == "hf" else expected
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
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--encoder", type=pathlib.Path)
    given = parser.parse_args()
    if given.golden:
        return golden(given.golden)
    failed, cases = 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or pathlib.Path(scratch)
        for name, config, make in configs():
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
                transformers.AutoModel.from_config(config).save_pretrained(base)
                make(base)
                more = exported(name, base, name in ("bert", "roberta"), given, work)
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
