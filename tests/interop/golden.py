"""Makes tests/io/golden/blocks.bin with the package gguf: blocks of each format and what they decode to, numbers and the
blocks that they are encoded to.

usage: golden.py [--check]      needs numpy and gguf
Records: a line "<format> <decode|encode> <blocks>", then what goes in, then what has to come out."""
import io
import pathlib
import sys

import numpy
from gguf import GGMLQuantizationType as Type
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize

place = pathlib.Path(__file__).resolve().parent.parent / "io" / "golden" / "blocks.bin"
random = numpy.random.Generator(numpy.random.PCG64(12))
scales = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def blocks_of(name, count):
    """Random bytes, with scales that are finite numbers of a usual size."""
    raw = random.integers(0, 256, (count, GGML_QUANT_SIZES[Type[name]][1]), dtype=numpy.uint8)
    for at in scales.get(name, []):
        values = random.normal(0, 0.02, count).astype(numpy.float16)
        values[-1] = numpy.float16(3e-6)  # a subnormal one
        raw[:, at:at + 2] = values.view(numpy.uint8).reshape(count, 2)
    return raw


def write_records(out):
    for name, count in (("F16", 128), ("BF16", 128), ("Q8_0", 4), ("Q4_0", 4), ("Q4_1", 4), ("Q5_0", 4), ("Q5_1", 4),
                        ("Q4_K", 2), ("Q5_K", 2), ("Q6_K", 2)):
        raw = blocks_of(name, count)
        if name in ("F16", "BF16"):  # NaN has no one pattern
            raw[raw[:, 1] & 0x7c == 0x7c] = 0x3c
        out.write(f"{name} decode {count}\n".encode())
        out.write(raw.tobytes() + dequantize(raw.reshape(1, -1), Type[name]).astype(numpy.float32).tobytes())
    for name, count in (("F16", 256), ("BF16", 256), ("Q8_0", 8), ("Q4_0", 8), ("Q4_1", 8)):
        width = GGML_QUANT_SIZES[Type[name]][0]
        numbers = (random.normal(0, 0.05, (count, width)) * 10.0 ** random.integers(-9, 5, (count, 1))).astype(numpy.float32)
        numbers = numbers.clip(-60000, 60000)
        numbers[0] = 0
        numbers[1, -1] = 0.5
        with numpy.errstate(all="ignore"):
            packed = quantize(numbers, Type[name])
        out.write(f"{name} encode {count}\n".encode() + numbers.tobytes() + packed.tobytes())


def make():
    out = io.BytesIO()
    write_records(out)
    return out.getvalue()


if __name__ == "__main__":
    made = make()
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if place.read_bytes() == made else f"{place} is not what gguf makes today")
    place.write_bytes(made)
    print(f"{len(made)} bytes")
