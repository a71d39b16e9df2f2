"""Repeatable mutations of bytes: what a fuzzer does, without its knowledge of what was reached."""

import numpy as np

from battery.fuzz.checked_target import MAX_INPUT_BYTES

_EDGES = (0, 1, 0x7F, 0x80, 0xFF)


def mutate(random: np.random.Generator, data: bytes, tokens: tuple[bytes, ...] = ()) -> bytes:
    """`data` after one to four changes: bits, bytes, cuts, repetitions, numbers or tokens."""
    result = bytearray(data)
    for _ in range(random.integers(1, 5)):
        at = int(random.integers(len(result) + 1))
        length = int(random.integers(1, 65))
        match random.integers(8):
            case 0 if at < len(result):
                result[at] ^= 1 << int(random.integers(8))
            case 1 if at < len(result):
                result[at] = _EDGES[random.integers(len(_EDGES))]
            case 2:
                del result[at : at + length]
            case 3:
                result[at:at] = result[at : at + length] * int(random.integers(1, 9))
            case 4:
                size = int(random.integers(1, 9))
                result[at : at + size] = _EDGES[random.integers(len(_EDGES))].to_bytes() * size
            case 5 if tokens:
                token = tokens[random.integers(len(tokens))]
                end = at + len(token) if random.integers(2) else at
                result[at:end] = token
            case 6:
                result[at:at] = random.bytes(length)
            case _:
                other = int(random.integers(len(result) + 1))
                result[at:at] = result[other : other + length]
    return bytes(result[:MAX_INPUT_BYTES])
