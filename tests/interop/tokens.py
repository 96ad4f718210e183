"""Tokenizers against the Python package `tokenizers`.

usage: tokens.py BUILD            compares, and writes tests/tokenizer/real_text.csv and data/rules.jsonl anew
       tokens.py BUILD --train    makes tests/tokenizer/data/{llama3,qwen2}.json anew before

Needs: pip install tokenizers sentencepiece protobuf gguf. SmolLM2's vocabulary and that of a BERT come from datasets/fetch. The lines
come from BUILD/tests/test_real_text, which compares with the sums written here; tokenizers that are not at hand are left out.
"""
import gzip
import json
import pathlib
import struct
import subprocess
import sys
import zlib

import gguf
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["--train"]):
    sys.exit(__doc__)
root = pathlib.Path(__file__).resolve().parent.parent.parent
build = pathlib.Path(sys.argv[1])
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


def fetch(name):
    """The folder of a model; None: it cannot be had."""
    done = subprocess.run([root / "datasets" / "fetch", name], stdout=subprocess.PIPE, text=True)
    return pathlib.Path(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def smollm2(path):
    """What SmolLM2's tokenizer.json says, of the vocabulary in the GGUF file."""
    fields = gguf.GGUFReader(path).fields
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


def cases():
    """Small tokenizers that differ in one rule each, by name."""
    n, p, d = normalizers, pre_tokenizers, decoders
    for form in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents"):
        yield form, {"normalizer": getattr(n, form)()}
    yield "strip", {"normalizer": n.Strip()}
    yield "strip right", {"normalizer": n.Strip(left=False)}
    yield "replace", {"normalizer": n.Sequence([n.Replace("a", "bc"), n.Replace(Regex(r"\s+"), "_"), n.Prepend("<")])}
    for flags in ((True, True, None, True), (True, False, False, True), (False, True, True, False), (False, False, None, False)):
        yield f"bert {flags}", {"normalizer": n.BertNormalizer(*flags), "pre_tokenizer": p.BertPreTokenizer()}
    for behaviour in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            yield f"split {behaviour} {invert}", {"pre_tokenizer": p.Split(Regex(r"\s|b"), behaviour, invert)}
        yield f"split text {behaviour}", {"pre_tokenizer": p.Split("a", behaviour)}
        yield f"punctuation {behaviour}", {"pre_tokenizer": p.Punctuation(behaviour)}
    for pattern in (r"\w+", r"\W+", r"[\w']+", r"[^\S\n]+", r"\S+", r"\d", r"(?i:'S|ß)", r"\u0061|\x62", r"(?<=a)b", r"^a|b$",
                    r"\p{Lu}|\p{M}", r"(?>a+)b", r"[\p{L}\p{N}]{2}"):
        yield f"pattern {pattern}", {"pre_tokenizer": p.Split(Regex(pattern), "isolated")}
    yield "digits", {"pre_tokenizer": p.Digits(True)}
    yield "digits together", {"pre_tokenizer": p.Digits(False)}
    yield "whitespace", {"pre_tokenizer": p.Whitespace()}
    yield "whitespace split", {"pre_tokenizer": p.WhitespaceSplit()}
    for scheme in ("always", "first", "never"):
        for split in (True, False):
            yield f"metaspace {scheme} {split}", {"pre_tokenizer": p.Metaspace(prepend_scheme=scheme, split=split),
                                                  "decoder": d.Metaspace(prepend_scheme=scheme)}
    for prefix in (True, False):
        for regex in (True, False):
            yield f"bytes {prefix} {regex}", {"pre_tokenizer": p.ByteLevel(prefix, use_regex=regex), "decoder": d.ByteLevel()}
    yield "sequence", {"pre_tokenizer": p.Sequence([p.Digits(True), p.Punctuation(), p.ByteLevel(False)]), "decoder": d.ByteLevel()}
    yield "strip tokens", {"decoder": d.Sequence([d.Strip("a", 1, 0), d.Replace("b", "--")])}
    yield "fused", {"decoder": d.Sequence([d.ByteFallback(), d.Fuse(), d.Strip("a", 2, 0)])}
    yield "pieces", {"decoder": d.WordPiece("a", True)}
    yield "bert template", {"post_processor": processors.BertProcessing(("</s>", 1), ("<s>", 0))}
    yield "roberta template", {"post_processor": processors.RobertaProcessing(("</s>", 1), ("<s>", 0))}
    yield "template", {"post_processor": processors.TemplateProcessing(
        single="<s>:1 $A:0 </s>:0", pair="$A:0 </s>:0 <s>:1 $B:1", special_tokens=[("<s>", 0), ("</s>", 1)])}


def rules():
    """What cases() make of these texts, with added tokens of all kinds among them; first what all have in common."""
    texts = ["", " ", "a", "ab abc", "  a b  ", "Über ÀÉ e\u0301 ﬁ ǅ İ ß", "x=12.5%, (a-b) don't", "<s>a</s> b<mask> c", "a\n\n b\t\r\n",
             "你好 world 안녕 ab", "a<left> b", "<left>  ab <right>  ab", "<wordy> <word> a<word> <word>b", "LOWer <NORM> <norm> low",
             "\u00a0\u2009a\u3000", "aabb'S 's", "①½٣ 7", "你 好a你好你 11 1a1", "😀 👍🏽", "\u200da\ufe0f \u00ad", "b" * 70 + " " + "ab" * 40]
    letters = set("".join(texts)) | set("abcdefghijklmnopqrstuvwxyz_<>-\u2581") | set(pre_tokenizers.ByteLevel.alphabet())
    letters = sorted(letters - set("你好世界😀👍½1\u3000"))  # unknown ones, alone and beside each other
    merges = [("a", "b"), ("ab", "c"), ("\u2581", "a"), ("\u2581a", "b"), ("b", "b"), ("\u0120", "a"), ("o", "r"), ("l", "o"), ("lo", "w")]
    vocab = {text: i for i, text in enumerate(["<s>", "</s>", "<unk>"] + letters + [a + b for a, b in merges])}
    with open(data / "rules.jsonl", "w") as out:
        for number, (name, parts) in enumerate(cases()):
            t = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=len(name) % 2 == 0))
            for key, value in parts.items():
                setattr(t, key, value)
            t.add_special_tokens(["<s>", "</s>", AddedToken("<mask>", lstrip=True, normalized=False)])
            t.add_tokens([AddedToken("<left>", lstrip=True), AddedToken("<right>", rstrip=True), AddedToken("<word>", single_word=True),
                          AddedToken("<norm>", normalized=True)])
            ids = [t.encode(text).ids for text in texts]
            pair = t.encode("ab", "a")
            whole = json.loads(t.to_str())
            # 0.23 shows added tokens as the normalizer makes them, we as they are
            same = all(t.id_to_token(token["id"]) == token["content"] for token in whole["added_tokens"])
            case = {"name": name, "fuse_unk": whole["model"].pop("fuse_unk"), "ids": ids, "pair": pair.ids, "types": pair.type_ids,
                    "decoded": [t.decode(i, skip_special_tokens=False) for i in ids] if same else None}
            case |= {key: whole.pop(key) for key in ("normalizer", "pre_tokenizer", "post_processor", "decoder")}
            for line in ([{"texts": texts, **whole}] if number == 0 else []) + [case]:
                out.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


def main():
    rules()
    if "--train" in sys.argv:
        train()
    gpt2 = from_file(shared / "models/tokenizer-gpt2/tokenizer.json")
    oracles = {"gpt2": gpt2, "gpt2-files": gpt2, "gpt2-gguf": gpt2, "llama": llama(), "llama-gguf": None}
    oracles["llama-gguf"] = oracles["llama"]
    oracles |= {name: from_file(data / f"{name}.json") for name in ("llama3", "qwen2")}
    if folder := fetch("smollm2-135m-instruct"):
        oracles["smollm2"] = smollm2(folder / "model.gguf")
    if folder := fetch("all-minilm-l6-v2"):
        oracles["minilm"] = from_file(folder / "tokenizer.json")
    lines_file = build / "lines.bin"
    subprocess.run([build / "tests" / "test_real_text", "lines", lines_file], check=True)
    whole, lines, at = (lines_file).read_bytes(), [], 0
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
