"""Append records to TensorBoard's event files: length, checksum, content, checksum.

TensorBoard's own `RecordWriter` computes the checksums byte by byte in Python, which takes longer
than a step of gradient descent. Here a table gives the share of each byte at its place, since a
CRC is linear: the shares are combined by XOR at once.

Format: tensorflow/core/lib/io/record_writer.cc; checksum: CRC-32C (RFC 3720, B.4), rotated and
shifted.
"""

import functools
import struct
from typing import IO

import numpy as np

from sharpeye.core.arrays import Ints

_POLYNOMIAL = 0x82F63B78  # reflected
_BLOCK_BYTES = 1024
_MIN_VECTOR_BYTES = 32  # below, a loop is faster
_MASK_DELTA = 0xA282EAD8


def write_record(file: IO[bytes], data: bytes) -> None:
    """Append a record, and hand it to the operating system."""
    file.write(_header(len(data)) + data + _masked(data))
    file.flush()


@functools.lru_cache(maxsize=1024)  # Most records have one of a few lengths.
def _header(length: int) -> bytes:
    packed = struct.pack("<Q", length)
    return packed + _masked(packed)


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """The CRC-32C of some bytes."""
    shares, offsets, table = _shares()
    crc = 0xFFFFFFFF
    for start in range(0, len(data), _BLOCK_BYTES):
        block = data[start : start + _BLOCK_BYTES]
        if len(block) < _MIN_VECTOR_BYTES:
            for byte in block:
                crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
        else:
            # The state is added to the first four bytes.
            first = int.from_bytes(block[:4], "little") ^ crc
            values = np.frombuffer(first.to_bytes(4, "little") + block[4:], np.uint8)
            crc = int(np.bitwise_xor.reduce(shares[offsets[-len(block) :] + values]))
    return crc ^ 0xFFFFFFFF


@functools.cache
def _shares() -> tuple[Ints, Ints, list[int]]:
    """uint32[block * 256]: the checksum of a byte that n zero bytes follow, at `256 * n + byte`;
    the offsets `256 * n` from the largest to 0; and the checksums for n = 0.
    """
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ (table & np.uint32(1)) * np.uint32(_POLYNOMIAL)
    shares = np.empty((_BLOCK_BYTES, 256), np.uint32)
    shares[0] = table
    for n in range(1, _BLOCK_BYTES):
        shares[n] = (shares[n - 1] >> np.uint32(8)) ^ table[shares[n - 1] & np.uint32(0xFF)]
    return shares.ravel(), np.arange(_BLOCK_BYTES - 1, -1, -1) * 256, table.tolist()
