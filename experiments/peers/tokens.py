#!/usr/bin/env python3
"""Tokenizers of DART-LLM and of the package `tokenizers` on the same text, alternating in one run; a Markdown table.
usage: experiments/peers/tokens.py TEXT TOKENIZER... [--rounds 3] [--megabytes 10]

Needs: pip install tokenizers. TEXT: a file, or .gz; TOKENIZER: a tokenizer.json or a folder with one. Both encode the lines of
the text one by one in one thread, and all of it in one call; `tokenizers` also in its fastest way (encode_batch_fast). Processor
time, best of the rounds. The ids must be equal."""
import argparse
import ctypes
import gzip
import os
import pathlib
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer  # noqa: E402: reads the environment when it is loaded

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("text", type=pathlib.Path)
parser.add_argument("tokenizer", nargs="+", type=pathlib.Path)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--megabytes", type=float, default=10)
args = parser.parse_args()
root = pathlib.Path(__file__).resolve().parent.parent.parent
library = ctypes.CDLL(str(root / "build" / "libdart.so"))
library.dart_last_error.restype = ctypes.c_char_p
room = (ctypes.c_int32 * 20000000)()


def check(status):
    if status:
        raise SystemExit(library.dart_last_error().decode())


class Ours:
    def __init__(self, path):
        self.handle = ctypes.c_void_p()
        check(library.dart_tokenizer_load(str(path).encode(), ctypes.byref(self.handle)))
        self.number = ctypes.c_size_t()

    def ids(self, text):
        check(library.dart_tokenizer_tokenize(self.handle, text, ctypes.c_size_t(len(text)), 0, room,
                                    ctypes.c_size_t(len(room)), ctypes.byref(self.number)))
        return room[:self.number.value]

    def count(self, texts):
        total = 0
        for text in texts:
            check(library.dart_tokenizer_tokenize(self.handle, text, ctypes.c_size_t(len(text)), 0, room,
                                        ctypes.c_size_t(len(room)), ctypes.byref(self.number)))
            total += self.number.value
        return total

    def __del__(self):
        library.dart_tokenizer_free(self.handle)


def best(work):
    seconds = []
    for _ in range(args.rounds):
        begin = time.process_time()
        work()
        seconds.append(time.process_time() - begin)
    return min(seconds)


def main():
    opened = gzip.open if args.text.suffix == ".gz" else open
    with opened(args.text, "rb") as file:
        whole = file.read(int(args.megabytes * 1e6))
    whole = whole[:whole.rindex(b"\n") + 1].decode("utf-8", "replace")
    lines = whole.splitlines(True)
    raw, size = [line.encode() for line in lines], len(whole.encode())
    print(f"{size / 1e6:.1f} MB, {len(lines)} lines, one thread, best of {args.rounds}; MB/s of processor time\n")
    print("| tokenizer | opening, s (ours, theirs) | lines: ours | lines: theirs | batch: theirs | ratio to their best | whole: ours "
          "| whole: theirs |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for path in args.tokenizer:
        path = path / "tokenizer.json" if path.is_dir() else path
        ours, theirs = Ours(path), Tokenizer.from_file(str(path))
        theirs.no_padding()
        theirs.no_truncation()
        theirs.encode_special_tokens = True
        open_ours, open_theirs = best(lambda: Ours(path)), best(lambda: Tokenizer.from_file(str(path)))
        for line, text in zip(raw[::97], lines[::97]):
            if ours.ids(line) != theirs.encode(text, add_special_tokens=False).ids:
                raise SystemExit(f"{path}: other ids for {text!r}")
        one = best(lambda: ours.count(raw))
        two = best(lambda: [theirs.encode(line, add_special_tokens=False) for line in lines])
        batch = best(lambda: theirs.encode_batch_fast(lines, add_special_tokens=False))
        three = best(lambda: ours.count([whole.encode()]))
        four = best(lambda: theirs.encode(whole, add_special_tokens=False))
        speed = [size / seconds / 1e6 for seconds in (one, two, batch, three, four)]
        print(f"| {path.parent.name}/{path.name} | {open_ours:.3f}, {open_theirs:.3f} | {speed[0]:.1f} | {speed[1]:.1f} | {speed[2]:.1f} | "
              f"{speed[0] / max(speed[1:3]):.1f} | {speed[3]:.1f} | {speed[4]:.1f} |", flush=True)


main()
