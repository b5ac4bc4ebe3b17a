"""Ways in which a file's content changes: what disks, networks, and careless or hostile hands do to it."""

from __future__ import annotations

import random
import re
import struct

_HEADER = 512
_WELL_FORMED = 0.4
"""Share of damaged texts that stay well formed: the others end at the parser."""
_BOUNDARIES = {
    1: (0, 1, 0x7F, 0x80, 0xFF),
    2: (0, 1, 0x7FFF, 0x8000, 0xFFFF),
    4: (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x10000000),
    8: (0, 1, 2**63 - 1, 2**63, 2**64 - 1, 2**40),
}
_FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\w+|[^\s\w]')
_ODD = (
    b"null", b"true", b"NaN", b"Infinity", b"-Infinity", b"nan", b"inf", b"0", b"-1", b"1e999", b"-0.0", b"1" * 400,
    b'""', b"[]", b"{}", b'"\\ud800"', b'"\\u0000"', b'"../../x"', b'"\x1b[31m"', b"[" * 100_000, b"9" * 5000,
    b'"' + b"a" * 5000 + b'"', b"1979-05-27", b"'''", b'{"a":1,"a":2}', b"18446744073709551616",
)  # fmt: skip


def mutate(content: bytes, rng: random.Random, *, text: bool) -> bytes:
    """Return ``content`` changed in one to three places.

    Args:
        content: What the file held.
        rng: Where the changes come from: the same state gives the same content.
        text: Whether tokens, not bytes alone, can be changed.
    """
    if text and rng.random() < _WELL_FORMED:
        return _like_token(content, rng)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        kinds = (*_TEXT, *_BYTES[:3]) if text else _BYTES
        content = rng.choice(kinds)(content, rng)
    return content


def _place(content: bytes, rng: random.Random) -> int:
    """Choose a byte; as often as not one of those that say what the others are, at the start or the end."""
    if rng.random() < 0.5 or len(content) <= 2 * _HEADER:
        return rng.randrange(max(1, len(content)))
    near = rng.randrange(_HEADER)
    return near if rng.random() < 0.5 else len(content) - 1 - near


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 32)) if changed else 0):
        changed[_place(content, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: _place(content, rng)]


def _block(content: bytes, rng: random.Random) -> tuple[int, int]:
    start = _place(content, rng)
    return start, min(len(content), start + rng.choice((1, 4, 16, 64, 512, 4096)))


def _duplicate(content: bytes, rng: random.Random) -> bytes:
    start, end = _block(content, rng)
    return content[:end] + content[start:]


def _zero(content: bytes, rng: random.Random) -> bytes:
    start, end = _block(content, rng)
    return content[:start] + bytes(end - start) + content[end:]


def _cut_out(content: bytes, rng: random.Random) -> bytes:
    start, end = _block(content, rng)
    return content[:start] + content[end:]


def _boundary(content: bytes, rng: random.Random) -> bytes:
    width = rng.choice((1, 2, 4, 8))
    start = _place(content, rng) // width * width
    number = struct.pack(rng.choice("<>") + _FORMATS[width], rng.choice(_BOUNDARIES[width]))
    return (content[:start] + number + content[start + width :])[: max(len(content), start + width)]


def _odd_token(content: bytes, rng: random.Random) -> bytes:
    tokens = list(_TOKEN.finditer(content))
    if not tokens:
        return content
    token = rng.choice(tokens)
    return content[: token.start()] + rng.choice(_ODD) + content[token.end() :]


def _other_token(content: bytes, rng: random.Random) -> bytes:
    tokens = list(_TOKEN.finditer(content))
    if not tokens:
        return content
    token, other = rng.choice(tokens), rng.choice(tokens)
    return content[: token.start()] + other.group() + content[token.end() :]


def _like_token(content: bytes, rng: random.Random) -> bytes:
    """Give a value another of its kind, so that the file stays well formed and may say something wrong."""
    values = [token for token in _TOKEN.finditer(content) if _numeric(token.group()) or token.group()[:1] == b'"']
    if not values:
        return content
    value = rng.choice(values)
    old = value.group()
    if _numeric(old):
        new = rng.choice((b"0", b"1", b"2", b"7", b"64", b"1000000", old + b"0"))
    else:
        new = rng.choice([token.group() for token in values if not _numeric(token.group())] + [old[:-1] + b'x"'])
    return content[: value.start()] + new + content[value.end() :]


def _numeric(token: bytes) -> bool:
    return token[:1].isdigit() or (token[:1] == b"-" and token[1:2].isdigit())


def _without_token(content: bytes, rng: random.Random) -> bytes:
    tokens = list(_TOKEN.finditer(content))
    if not tokens:
        return content
    token = rng.choice(tokens)
    return content[: token.start()] + content[token.end() :]


_BYTES = (_flip, _truncate, _duplicate, _zero, _cut_out, _boundary, _boundary)
_TEXT = (_odd_token, _odd_token, _odd_token, _other_token, _without_token)
