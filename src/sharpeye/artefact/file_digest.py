"""The digest of a model file inside the file itself, so that a damaged copy is recognized.

It is the SHA-256 of all bytes of the file, with 64 zeros in place of the digest. The graph's
metadata holds it under `file_sha256`.
"""

import hashlib
from typing import NamedTuple

from sharpeye.errors import ModelError

FILE_DIGEST_KEY = "file_sha256"
EMPTY_DIGEST = "0" * 64  # in place of the digest until it is computed
# The beginning of the metadata's entry: the fields `key` and `value` with their lengths.
_ENTRY = b"\x0a\x0b" + FILE_DIGEST_KEY.encode() + b"\x12\x40"


def insert_digest(data: bytes) -> bytes:
    """The bytes of a model file whose digest is still empty, with the digest.

    Raises:
        ModelError: it has no entry for the digest.
    """
    start = data.rfind(_ENTRY) + len(_ENTRY)
    if data[start : start + 64] != EMPTY_DIGEST.encode():
        raise ModelError("the model has no place for its digest")
    digest = hashlib.sha256(data).hexdigest().encode()
    return b"".join((memoryview(data)[:start], digest, memoryview(data)[start + 64 :]))


class FileDigests(NamedTuple):
    """The SHA-256 of a model file, and whether the digest inside it is there and right."""

    sha256: str
    is_intact: bool


def compute_digests(data: bytes) -> FileDigests:
    """Both digests of a model file in one pass."""
    entry = data.rfind(_ENTRY)
    if entry < 0:
        return FileDigests(hashlib.sha256(data).hexdigest(), is_intact=False)
    start, view = entry + len(_ENTRY), memoryview(data)
    sha256 = hashlib.sha256(view[:start])
    inner = sha256.copy()
    inner.update(EMPTY_DIGEST.encode())
    inner.update(view[start + 64 :])
    sha256.update(view[start:])
    is_intact = inner.hexdigest().encode() == view[start : start + 64]
    return FileDigests(sha256.hexdigest(), is_intact)
