"""Decode all images of a data set once into one array, which the cache keeps.

An image that cannot be decoded has no row; it is tried again each time, as the reason may be
temporary (a file that could not be opened, a time limit).
"""

import contextlib
import hashlib
import itertools
import json
import logging
import math
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sharpeye.core.arrays import Pixels
from sharpeye.core.parallel import parallel_map
from sharpeye.core.progress import Progress
from sharpeye.core.storage import FileLock, make_folder
from sharpeye.core.types import InputSpec, Rejected, Sample
from sharpeye.data.cached_vectors import rejected_samples
from sharpeye.data.pixel_file import FORMAT_VERSION, pixels_folder, read_set, write_set
from sharpeye.data.sample_image import load_sample, read_rows, row_to_image, wide_key
from sharpeye.errors import EnvironmentFault, ImageReadError
from sharpeye.images.decode import DECODER_VERSION
from sharpeye.images.resize import fit_image

log = logging.getLogger(__name__)

_CHUNK_BYTES = 2**20
_CHUNK_ROWS = 1024


@dataclass(frozen=True)
class DecodedImages:
    """Decoded images.

    Attributes:
        pixels: uint8[M,H,W,C], 0..255, read-only; usually a file that is mapped into memory.
        indices: the row of each image by its digest.
        rejected: samples that could not be read or decoded.
    """

    pixels: Pixels
    indices: dict[str, int]
    rejected: tuple[Rejected, ...]


class _Decoded(NamedTuple):
    """Images: uint8[n,H,W,C], their digests, and why others could not be decoded, by digest."""

    pixels: Pixels
    digests: list[str]
    failed: dict[str, ImageReadError]


def load_pixels(
    samples: Sequence[Sample],
    spec: InputSpec,
    progress: Progress | None = None,
    *,
    root: Path | None = None,
) -> DecodedImages:
    """Every distinct image in the model's input format, from the cache if it is there.

    If the cache cannot be written, this logs a warning and holds the images in memory.

    Raises:
        EnvironmentFault: neither the cache nor the memory has room for them.
    """
    images: dict[str, Sample] = {}
    for sample in samples:
        images.setdefault(sample.sha256, sample)
    try:
        pixels, digests, failed = _load_or_write(images, spec, progress, root=root)
    except EnvironmentFault as error:
        log.warning("decoded images are not cached: %s", error)
        pixels, digests, failed = _decode_in_memory(images, spec, progress)
    indices = {digest: index for index, digest in enumerate(digests)}
    rejected = rejected_samples(samples, failed)
    return DecodedImages(pixels, indices, rejected)


def _load_or_write(
    images: Mapping[str, Sample], spec: InputSpec, progress: Progress | None, *, root: Path | None
) -> _Decoded:
    file = pixels_folder(root) / f"{_set_name(images, spec)}.npy"
    decoded = _load(file, images, spec)
    if decoded:
        return decoded
    make_folder(file.parent)
    lock = FileLock(file.with_suffix(".lock"))
    if not lock.try_acquire():
        log.info("another process decodes the same images; waiting for it")
        lock.try_acquire(wait_seconds=math.inf)
    try:
        return _load(file, images, spec, warn=True) or _write(file, images, spec, progress=progress)
    finally:
        lock.release()


def _set_name(images: Mapping[str, Sample], spec: InputSpec) -> str:
    """A digest of everything that the pixels depend on, in any order of the images."""
    from importlib.metadata import version

    key = {
        "version": FORMAT_VERSION,
        "decoder": DECODER_VERSION,
        "pillow": version("pillow"),
        "input": spec.to_dict(),
        "pictures": sorted(images),
    } | wide_key(images.values())
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]


def _load(
    file: Path, images: Mapping[str, Sample], spec: InputSpec, *, warn: bool = False
) -> _Decoded | None:
    """The set in the cache, or None if it is missing, damaged, or no longer complete."""
    try:
        pixels, digests = read_set(file, spec)
        known = set(digests)
        if len(known) < len(digests) or not images.keys() >= known:
            raise ValueError("it lists other images")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        if warn:
            log.warning("%s is damaged (%s) and made again", file, error)
        return None
    missing = {digest: sample for digest, sample in images.items() if digest not in known}
    failed: dict[str, ImageReadError] = {}
    for chunk in _decode(missing, spec, None):
        if chunk.digests:  # it can be decoded now
            return None
        failed |= chunk.failed
    return _Decoded(pixels, digests, failed)


def _write(
    file: Path, images: Mapping[str, Sample], spec: InputSpec, *, progress: Progress | None
) -> _Decoded:
    failed: dict[str, ImageReadError] = {}

    def blocks() -> Generator[tuple[Pixels, list[str]], None, None]:
        for chunk in _decode(images, spec, progress):
            failed.update(chunk.failed)
            yield chunk.pixels, chunk.digests

    with contextlib.closing(blocks()) as decoded:
        pixels, digests = write_set(file, spec, len(images), blocks=decoded)
    return _Decoded(pixels, digests, failed)


def _decode_in_memory(
    images: Mapping[str, Sample], spec: InputSpec, progress: Progress | None
) -> _Decoded:
    shape = _shape(len(images), spec)
    try:
        pixels = np.empty(shape, np.uint8)
    except MemoryError:
        raise EnvironmentFault(
            f"{len(images):,} images of {spec.width} x {spec.height} px need "
            f"{math.prod(shape) / 2**30:.1f} GiB, in the cache or in memory; free some room in "
            "one of them, or choose a smaller image size"
        ) from None
    digests: list[str] = []
    failed: dict[str, ImageReadError] = {}
    for chunk in _decode(images, spec, progress):
        pixels[len(digests) : len(digests) + len(chunk.digests)] = chunk.pixels
        digests += chunk.digests
        failed |= chunk.failed
    pixels = pixels[: len(digests)]
    pixels.flags.writeable = False
    return _Decoded(pixels, digests, failed)


def _decode(
    images: Mapping[str, Sample], spec: InputSpec, progress: Progress | None
) -> Iterator[_Decoded]:
    done = 0
    chunks = _chunks(images.values(), spec)
    for samples, chunk in parallel_map(lambda samples: _decode_chunk(samples, spec), chunks):
        yield chunk
        done += len(samples)
        if progress:
            progress(done, len(images))


def _chunks(samples: Iterable[Sample], spec: InputSpec) -> Iterator[list[Sample]]:
    """Chunks of files, or of rows of one array file: one task per image costs too much."""
    max_length = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // math.prod(_shape(1, spec))))
    for _, group in itertools.groupby(samples, lambda s: None if s.row is None else s.file):
        while chunk := list(itertools.islice(group, max_length)):
            yield chunk


def _decode_chunk(samples: list[Sample], spec: InputSpec) -> _Decoded:
    if samples[0].row is not None:
        with contextlib.suppress(ImageReadError):  # reading one by one shows which row is damaged
            return _Decoded(_fit_rows(read_rows(samples), spec), [s.sha256 for s in samples], {})
    pixels: list[Pixels] = []
    digests: list[str] = []
    failed: dict[str, ImageReadError] = {}
    for sample in samples:
        result = _load_or_fail(sample, spec)
        if isinstance(result, ImageReadError) and result.transient:
            result = _load_or_fail(sample, spec)
        if isinstance(result, ImageReadError):
            failed[sample.sha256] = result
        else:
            pixels.append(result)
            digests.append(sample.sha256)
    block = np.stack(pixels) if pixels else np.empty(_shape(0, spec), np.uint8)
    return _Decoded(block, digests, failed)


def _load_or_fail(sample: Sample, spec: InputSpec) -> Pixels | ImageReadError:
    try:
        return load_sample(sample, spec)
    except ImageReadError as error:
        return error


def _fit_rows(rows: Pixels, spec: InputSpec) -> Pixels:
    """Each row as `fit_image` fits it, contiguous."""
    same_size = rows.shape[1:3] == (spec.height, spec.width)
    if same_size and rows.shape[3] in (1, spec.channels):
        return np.repeat(rows, spec.channels // rows.shape[3], axis=3)
    return np.stack([fit_image(row_to_image(row), spec) for row in rows])


def _shape(count: int, spec: InputSpec) -> tuple[int, int, int, int]:
    return count, spec.height, spec.width, spec.channels
