"""Damage files at random from a seed: bytes, JSON values, and lengths in headers."""

from __future__ import annotations

import json
import random
import re
from typing import Any, Literal

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
PATHS = ("../outside/secret", "/etc/passwd", "..", "C:\\x", "a\0b", "a/../../b", "", ".")
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**63, 10**40, 1e308, -0.5, "", "x" * 5000, "\ud800", [], {}, [[]],
    {"": None}, *PATHS,
)  # fmt: skip
RAW = ("NaN", "Infinity", "-Infinity", "9" * 5000, "[" * 3000, '{"a":' * 3000, "1e999", '"\\ud800"')
"""Values that Python's JSON cannot represent, inserted as text."""

_MARK = "\uf8ff"
_NUMBER = re.compile(rb"\d+(?:\.\d+)?")


def mutate_bytes(rng: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """Return damaged `content`; blocks may come from `others`."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if not data:
            break
        rng.choice(_BYTE_STEPS)(rng, data, others)
    return bytes(data)


def _flip(rng: random.Random, data: bytearray, _others: list[bytes]) -> None:
    for _ in range(rng.choice((1, 1, 4, 32))):
        data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _byte(rng: random.Random, data: bytearray, _others: list[bytes]) -> None:
    data[_place(rng, data)] = rng.choice((0, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _cut(rng: random.Random, data: bytearray, _others: list[bytes]) -> None:
    del data[rng.randrange(len(data)) :]


def _drop(rng: random.Random, data: bytearray, _others: list[bytes]) -> None:
    start = _place(rng, data)
    del data[start : start + rng.choice((1, 2, 4, 16, 256))]


def _repeat(rng: random.Random, data: bytearray, _others: list[bytes]) -> None:
    start = _place(rng, data)
    block = data[start : start + rng.choice((1, 4, 32, 512))]
    data[start:start] = block * rng.choice((1, 2, 16))


def _splice(rng: random.Random, data: bytearray, others: list[bytes]) -> None:
    source = rng.choice(others) if others else bytes(data)
    if source:
        start, length = rng.randrange(len(source)), rng.choice((4, 16, 128, 1024))
        at = _place(rng, data)
        end = at + length if rng.random() < 0.7 else at
        data[at:end] = source[start : start + length]


def _length(rng: random.Random, data: bytearray, _others: list[bytes]) -> None:
    """Overwrite an aligned number, as lengths, offsets and sizes are stored."""
    size = rng.choice((1, 2, 4, 8))
    if len(data) < size:
        return
    at = min(_place(rng, data), len(data) - size) // size * size
    orders: tuple[Literal["little", "big"], ...] = ("little", "big")
    order = rng.choice(orders)
    old = int.from_bytes(data[at : at + size], order)
    new = rng.choice((*INTERESTING, old + 1, old - 1, old * 2, old << 8, len(data)))
    data[at : at + size] = (new % 256**size).to_bytes(size, order)


def _zero(rng: random.Random, data: bytearray, _others: list[bytes]) -> None:
    at = _place(rng, data)
    length = min(rng.choice((4, 64, 1024)), len(data) - at)
    data[at : at + length] = rng.choice((b"\0", b"\xff")) * length


def _place(rng: random.Random, data: bytearray) -> int:
    """Favour the beginning and, for TIFF, the end, where headers are."""
    where = rng.random()
    most = len(data)
    if where < 0.45:
        return rng.randrange(min(most, 256))
    if where < 0.6:
        return most - 1 - rng.randrange(min(most, 512))
    return rng.randrange(most)


_BYTE_STEPS = (_flip, _byte, _cut, _drop, _repeat, _splice, _length, _length, _zero)


def mutate_json(rng: random.Random, content: bytes) -> bytes:
    """Return JSON with other values, keys or structure; sometimes invalid JSON."""
    value = json.loads(content)
    raw = ""
    for _ in range(rng.choice((1, 1, 2, 4))):
        spots = _spots(value)
        if not spots:
            break
        holder, key = rng.choice(spots)
        how = rng.randrange(6)
        if how == 0:
            del holder[key]
        elif how == 1:
            other, place = rng.choice(spots)
            holder[key] = _copy(other[place]) if _has(other, place) else None
        elif how == 2 and isinstance(holder, dict):
            holder[rng.choice((*PATHS, "x" * 300, key + "_"))] = holder.pop(key)
        elif how == 3 and not raw:
            raw, holder[key] = rng.choice(RAW), _MARK
        elif how == 4 and isinstance(holder[key], int | float):
            holder[key] = _other_number(rng, holder[key])
        else:
            holder[key] = _copy(rng.choice(VALUES))
    text = json.dumps(value, ensure_ascii=rng.random() < 0.9)
    return (
        text.replace(json.dumps(_MARK), raw)
        .replace(f'"{_MARK}"', raw)
        .encode("utf-8", "surrogatepass")
    )


def _other_number(rng: random.Random, old: float) -> Any:
    half = int(max(-1e9, min(old, 1e9))) + 0.5
    return rng.choice((-old, old + 1, old * 1000, str(old), old / 3, half, [old]))


def _has(holder: Any, key: Any) -> bool:
    return key < len(holder) if isinstance(holder, list) else key in holder


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _spots(value: Any) -> list[tuple[Any, Any]]:
    """Return every position in nested JSON as container and key."""
    found: list[tuple[Any, Any]] = []
    stack = [value]
    while stack and len(found) < 5000:
        holder = stack.pop()
        keys: Any = holder.keys() if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                stack.append(holder[key])
    return found


TOML_LINES = (
    "x = " + "[" * 3000, ".".join("a" * 2000) + " = 1", "= 1", "[", '[[data]]', "[data.images]",
    "size = 99999999999999999999", "kl_weight = inf", "lr = nan", 'preset = "../x"', "preset = 3",
    'images = "a\\u0000b"', "images = '../outside'", "classes = []", 'velocity_widths = []',
    "epochs = -1", "d = 1979-05-27T07:32:00Z", "n = " + "9" * 5000, '"" = 1', "x = '''",
)  # fmt: skip


def mutate_lines(rng: random.Random, content: bytes) -> bytes:
    """Return a text of lines (TOML, CSV) with lines moved, removed, duplicated or inserted."""
    lines = content.decode("utf-8", "replace").split("\n")
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(lines)) if lines else 0
        how = rng.randrange(5)
        if how == 0 and lines:
            lines.pop(at)
        elif how == 1 and lines:
            lines.insert(rng.randrange(len(lines)), lines[at])
        elif how == 2 and lines:
            number = str(rng.choice((*INTERESTING, -1, 0.5, "nan"))).encode()
            lines[at] = _NUMBER.sub(number, lines[at].encode(), count=1).decode()
        elif how == 3 and lines:
            new = rng.choice(("", ",", '"', "\0", "\r"))
            lines[at] = lines[at].replace(rng.choice("=,\"'["), new)
        else:
            lines.insert(at, rng.choice(TOML_LINES))
    return "\n".join(lines).encode("utf-8", "surrogatepass")
