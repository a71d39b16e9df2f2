"""Damage of stored bytes: single bits that change, and blocks that a disk returns wrongly."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

# A sector of a disk; of a smaller file, a quarter of it.
BLOCK_BYTES = 512


class Damage(NamedTuple):
    """Damaged bytes, under a name by which they can be made again."""

    name: str
    data: bytes


def bit_flips(data: bytes, count: int, random: np.random.Generator) -> Iterator[Damage]:
    """Copies of `data` with one bit changed, at different positions while there are enough."""
    bits = 8 * len(data)
    for bit in random.choice(bits, min(count, bits), replace=False).tolist():
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield Damage(f"bit {bit}", bytes(changed))


def block_errors(data: bytes, count: int, random: np.random.Generator) -> Iterator[Damage]:
    """Copies of `data` with a block of zeros, of noise, or of another position."""
    size = min(BLOCK_BYTES, max(1, len(data) // 4))
    kinds = ("zeros", "noise", "moved")
    for number in range(count):
        kind = kinds[number % len(kinds)]
        start, source = random.integers(0, max(1, len(data) - size), 2).tolist()
        block = {
            "zeros": bytes(size),
            "noise": random.bytes(size),
            "moved": data[source : source + size],
        }[kind]
        yield Damage(f"{kind} at {start}", data[:start] + block + data[start + size :])


def damages(data: bytes, count: int, random: np.random.Generator) -> Iterator[Damage]:
    """`count` bit flips, and a tenth as many block errors."""
    yield from bit_flips(data, count, random)
    yield from block_errors(data, count // 10, random)
