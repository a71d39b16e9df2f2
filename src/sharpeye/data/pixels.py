"""All images of a data set as one array, decoded once and kept in the cache.

A set is named by everything that its pixels depend on: the images, in any order, the model's
input and the decoder. What cannot be decoded has no row; it is tried again each time, as its
reason may be gone (a file that could not be opened, a time limit).
"""

import contextlib
import hashlib
import json
import logging
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sharpeye.core.parallel import parallel_map
from sharpeye.core.storage import FileLock, make_folder
from sharpeye.core.types import InputSpec, Rejected, Sample
from sharpeye.data.features import load_sample
from sharpeye.data.pixel_file import VERSION, pixels_folder, read_set, write_set
from sharpeye.data.read_image import image_of_row, read_rows
from sharpeye.errors import EnvironmentFault, ImageReadError
from sharpeye.images.decode import DECODER_VERSION
from sharpeye.images.resize import fit_image

log = logging.getLogger(__name__)

Array = npt.NDArray[np.uint8]
Progress = Callable[[int, int], None]  # (done, total)

_CHUNK_BYTES = 2**20
_CHUNK_ROWS = 1024


@dataclass(frozen=True)
class Pixels:
    """Decoded images.

    Attributes:
        pixels: uint8[M,H,W,C], 0..255, read-only; usually a file that is mapped into memory.
        rows: the row of each image by its digest.
        rejected: samples that could not be read or decoded.
    """

    pixels: Array
    rows: dict[str, int]
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True)
class _Chunk:
    """What came of a few images: uint8[n,H,W,C], their digests, and reasons by digest."""

    pixels: Array
    digests: list[str]
    failed: dict[str, str]


def load_pixels(
    samples: Sequence[Sample],
    spec: InputSpec,
    progress: Progress | None = None,
    root: Path | None = None,
) -> Pixels:
    """Every different image as the model takes it, from the cache if it is there.

    A cache that cannot be written costs a warning, and the images are held in memory.

    Args:
        samples: with digests; in any order.
        progress: told how many images are decoded.
        root: the cache; by default `cache_root()`.

    Raises:
        EnvironmentFault: neither the cache nor the memory has room for them.
    """
    images = {sample.sha256: sample for sample in reversed(samples)}
    distinct = dict(reversed(images.items()))
    try:
        pixels, rows, failed = _cached(distinct, spec, progress, root)
    except EnvironmentFault as error:
        log.warning("decoded pictures are not cached: %s", error)
        pixels, rows, failed = _in_memory(distinct, spec, progress)
    rejected = tuple(Rejected(s.path, failed[s.sha256]) for s in samples if s.sha256 in failed)
    return Pixels(pixels, rows, rejected)


_Found = tuple[Array, dict[str, int], dict[str, str]]  # pixels, row by digest, reason by digest


def _cached(
    images: Mapping[str, Sample], spec: InputSpec, progress: Progress | None, root: Path | None
) -> _Found:
    file = pixels_folder(root) / f"{_name(images, spec)}.npy"
    found = _kept(file, images, spec)
    if found:
        return found
    make_folder(file.parent)
    lock = FileLock(file.with_suffix(".lock"))
    if not lock.try_acquire():
        log.info("another process decodes the same pictures; waiting for it")
        lock.try_acquire(wait=True)
    try:
        return _kept(file, images, spec, warn=True) or _make(file, images, spec, progress)
    finally:
        lock.release()


def _name(images: Mapping[str, Sample], spec: InputSpec) -> str:
    from importlib.metadata import version

    key = {
        "version": VERSION,
        "decoder": DECODER_VERSION,
        "pillow": version("pillow"),
        "input": spec.to_dict(),
        "pictures": sorted(images),
    }
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]


def _kept(
    file: Path, images: Mapping[str, Sample], spec: InputSpec, *, warn: bool = False
) -> _Found | None:
    """The set in the cache, or None if it is not there, damaged, or not complete any more."""
    try:
        pixels, digests = read_set(file, spec)
        if len(set(digests)) < len(digests) or not images.keys() >= set(digests):
            raise ValueError("it lists other pictures")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        if warn:
            log.warning("%s is damaged (%s) and made again", file, error)
        return None
    rows = {digest: row for row, digest in enumerate(digests)}
    missing = [sample for digest, sample in images.items() if digest not in rows]
    failed: dict[str, str] = {}
    for _, chunk in parallel_map(lambda samples: _read(samples, spec), _chunks(missing, spec)):
        if chunk.digests:  # it can be decoded by now
            return None
        failed |= chunk.failed
    return pixels, rows, failed


def _make(
    file: Path, images: Mapping[str, Sample], spec: InputSpec, progress: Progress | None
) -> _Found:
    failed: dict[str, str] = {}

    def blocks() -> Generator[tuple[Array, list[str]], None, None]:
        for chunk in _decoded(images, spec, progress):
            failed.update(chunk.failed)
            yield chunk.pixels, chunk.digests

    with contextlib.closing(blocks()) as found:
        pixels, digests = write_set(file, spec, len(images), found)
    return pixels, {digest: row for row, digest in enumerate(digests)}, failed


def _in_memory(images: Mapping[str, Sample], spec: InputSpec, progress: Progress | None) -> _Found:
    shape = _shape(len(images), spec)
    try:
        pixels = np.empty(shape, np.uint8)
    except MemoryError:
        raise EnvironmentFault(
            f"{len(images):,} pictures of {spec.width} x {spec.height} px need "
            f"{math.prod(shape) / 2**30:.1f} GiB, in the cache or in memory; free some room in "
            "one of them, or choose a smaller image size"
        ) from None
    rows: dict[str, int] = {}
    failed: dict[str, str] = {}
    for chunk in _decoded(images, spec, progress):
        pixels[len(rows) : len(rows) + len(chunk.digests)] = chunk.pixels
        rows |= {digest: len(rows) + i for i, digest in enumerate(chunk.digests)}
        failed |= chunk.failed
    pixels = pixels[: len(rows)]
    pixels.flags.writeable = False
    return pixels, rows, failed


def _decoded(
    images: Mapping[str, Sample], spec: InputSpec, progress: Progress | None
) -> Iterator[_Chunk]:
    done = 0
    chunks = _chunks(list(images.values()), spec)
    for samples, chunk in parallel_map(lambda samples: _read(samples, spec), chunks):
        yield chunk
        done += len(samples)
        if progress:
            progress(done, len(images))


def _chunks(samples: Sequence[Sample], spec: InputSpec) -> Iterator[list[Sample]]:
    """Runs of files, or of rows of one array file: a work item an image costs too much."""
    most = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // math.prod(_shape(1, spec))))
    chunk: list[Sample] = []
    for sample in samples:
        if chunk and (len(chunk) == most or _source(sample) != _source(chunk[0])):
            yield chunk
            chunk = []
        chunk.append(sample)
    if chunk:
        yield chunk


def _source(sample: Sample) -> Path | None:
    return None if sample.row is None else sample.file


def _read(samples: list[Sample], spec: InputSpec) -> _Chunk:
    if samples[0].row is not None:
        with contextlib.suppress(ImageReadError):  # below, it is found out which row is to blame
            return _Chunk(_fitted(read_rows(samples), spec), [s.sha256 for s in samples], {})
    pixels, digests, failed = [], [], {}
    for sample in samples:
        try:
            pixels.append(load_sample(sample, spec))
        except ImageReadError as error:
            failed[sample.sha256] = error.reason
        else:
            digests.append(sample.sha256)
    block = np.stack(pixels) if pixels else np.empty(_shape(0, spec), np.uint8)
    return _Chunk(block, digests, failed)


def _fitted(rows: Array, spec: InputSpec) -> Array:
    """What `fit_image` makes of each row, contiguous."""
    same_size = rows.shape[1:3] == (spec.height, spec.width)
    if same_size and rows.shape[3] in (1, spec.channels):
        return np.repeat(rows, spec.channels // rows.shape[3], axis=3)
    return np.stack([fit_image(image_of_row(row), spec) for row in rows])


def _shape(count: int, spec: InputSpec) -> tuple[int, int, int, int]:
    return count, spec.height, spec.width, spec.channels
