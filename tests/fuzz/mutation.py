"""Small inputs, changed as damage and malice do it."""

import random
import struct
from zlib import crc32

NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]
REALS = [float("nan"), float("inf"), -1e308, 5e-324, -0.0]
WORDS = [
    *(b"null", b"-1", b"1e999", b"NaN", b"true", b'""', b"[]", b"{}", b"9" * 400, b"[" * 3000, b'{"a":' * 3000, b"\0"),
    *(b"&a [*a,*a]", b"(((((1)))))", b"[4000000000]", b"<=4000000000", b"{% for i in range(10**9) %}", b"../../etc"),
    *("\u202e\x1b[2J".encode(), b"%s" * 9, b"{{ 9**9**9 }}", b"\xff\xfe", b"\xed\xa0\x80", b"- - - ", b"\n\t\r"),
]
PNG = b"\x89PNG\r\n\x1a\n"


def mutated(seeds: list[bytes], rng: random.Random) -> bytes:
    """One of the seeds with one to eight changes, sometimes none of which is small."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        rng.choice(CHANGES)(data, seeds, rng)
    return with_sums(bytes(data)) if data.startswith(PNG) else bytes(data)


def _at(data, rng):
    return rng.randrange(len(data) + 1)


def _flip(data, seeds, rng):
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _number(data, seeds, rng):
    size = rng.choice([1, 2, 4, 8])
    number = (rng.choice(NUMBERS) + rng.randrange(-1, 2)) % (1 << 8 * size)
    at = _at(data, rng)
    data[at : at + size] = number.to_bytes(size, rng.choice(["little", "big"]))


def _real(data, seeds, rng):
    at = _at(data, rng)
    data[at : at + 8] = struct.pack("<d", rng.choice(REALS))


def _word(data, seeds, rng):
    at = _at(data, rng)
    data[at : at + rng.choice([0, 0, 1, 4, 16])] = rng.choice(WORDS)


def _value(data, seeds, rng):
    """Another value where text has a number or a name."""
    marks = [i for i, byte in enumerate(data) if byte in b":=,[ "]
    if marks:
        at = rng.choice(marks) + 1
        end = next((i for i in range(at, len(data)) if data[i] in b",]}\n;"), len(data))
        data[at:end] = rng.choice(WORDS)


def _cut(data, seeds, rng):
    a, b = sorted((_at(data, rng), _at(data, rng)))
    del data[a : b if rng.random() < 0.5 else a + (b - a) % 64]


def _end(data, seeds, rng):
    del data[_at(data, rng) :]


def _again(data, seeds, rng):
    a, b = sorted((_at(data, rng), _at(data, rng)))
    data[b:b] = data[a:b][:65536] * rng.choice([1, 2, 50])


def _other(data, seeds, rng):
    other = rng.choice(seeds)
    a, b = sorted((_at(other, rng), _at(other, rng)))
    at = _at(data, rng)
    data[at : at + rng.choice([0, b - a])] = other[a:b]


CHANGES = [_flip, _flip, _number, _number, _real, _word, _value, _cut, _end, _again, _other]


def with_sums(png: bytes) -> bytes:
    """A PNG whose check sums fit again, so that what was changed is read."""
    out, at = bytearray(png[:8]), 8
    while at + 12 <= len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        body = png[at + 4 : at + 8 + length]
        out += png[at : at + 4] + body + crc32(body).to_bytes(4, "big")
        at += 12 + length
    return bytes(out) + png[at:]
