"""Limits on the cost of one image, and the limits in force for the process.

A command puts them in force once, from its options or from the section [images] of its
configuration; every decode then uses them, unless it is called with limits of its own. Without
either, variables of the environment count, and then the defaults below.

    SHARPEYE_MAX_MEGAPIXELS=200 python program.py     # also for processes that a program starts
    set_limits(replace(limits_in_force(), memory_bytes=900 * MB))                   # in a program

    decode(data, name)                                # the limits in force
    decode(data, name, replace(limits_in_force(), memory_bytes=150 * MB, wait_seconds=0.5))

`memory_bytes` bounds one image and `wait_seconds` the time in which it waits until the images that
other threads decode leave it enough of the shared budget (`images.memory_budget`). A server sets
both low: an image over `memory_bytes` is refused for good (`ImageReadError.transient` is False),
one for which there was no memory in time may be sent again (`transient` is True).
"""

import math
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sharpeye.core.config import ImagesConfig
from sharpeye.errors import UsageError

MB = 1_000_000  # In the limits that people set, as in the sizes of cameras' files.


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Limits on one image. Every default is far above ordinary photographs.

    Attributes:
        file_bytes: size of the file.
        memory_bytes: peak memory of decoding it, estimated from its header.
        pixels: width times height; Pillow's own limit. Memory is the narrower one for most formats.
        side: the longer of width and height; a JPEG cannot have more.
        frames: of an animation or of a file of several pages; only the first one is used.
        jpeg_scans, scan_pixels: a progressive JPEG is decoded once a scan; scans times pixels bound
            the time in which the deadline is not checked (about 10 s on one slow core).
        seconds: processor time of decoding, so that a machine that sleeps condemns no image.
        budget_bytes: memory of all decodes of the process together; by default the larger of
            `memory_bytes` and 64 MB a core.
        wait_seconds: time to wait for memory that other decodes hold; None: as long as it takes.
    """

    file_bytes: int = 64 * 2**20
    memory_bytes: int = 400 * MB
    pixels: int = 178_956_970
    side: int = 65_535
    frames: int = 1_000
    jpeg_scans: int = 100
    scan_pixels: int = 1_000_000_000
    seconds: float = 10.0
    budget_bytes: int | None = None
    wait_seconds: float | None = None

    def changed(self, settings: Mapping[str, float]) -> "DecodeLimits":
        """A copy with the limits that are above 0, by the names of the knobs in [images]."""
        changes: dict[str, float] = {
            field: settings[name] if field == "seconds" else round(settings[name] * unit)
            for name, (field, unit) in _FIELDS.items()
            if settings.get(name)
        }
        return replace(self, **changes)  # type: ignore[arg-type]


_FIELDS = {
    "max_megapixels": ("pixels", 1_000_000),
    "max_decode_memory": ("memory_bytes", MB),
    "max_file_size": ("file_bytes", MB),
    "max_decode_seconds": ("seconds", 1),
}

_lock = threading.Lock()
_in_force: DecodeLimits | None = None


def limits_in_force() -> DecodeLimits:
    """The limits of every decode of this process that is called without limits of its own.

    Raises:
        UsageError: a variable of the environment is no number above 0.
    """
    global _in_force
    if _in_force is None:
        limits = DecodeLimits().changed(_from_environment())
        with _lock:
            _in_force = _in_force or limits
    return _in_force


def set_limits(limits: DecodeLimits) -> DecodeLimits:
    """Put limits in force for all threads of this process; returns the limits before."""
    global _in_force
    before = limits_in_force()
    with _lock:
        _in_force = limits
    return before


def set_default_limits(limits: DecodeLimits) -> None:
    """Put limits in force in place of the defaults; options and the environment may change them."""
    set_limits(limits.changed(_from_environment()))


@contextmanager
def use_limits(limits: DecodeLimits) -> Iterator[None]:
    """Put limits in force for all threads until the block ends."""
    before = set_limits(limits)
    try:
        yield
    finally:
        set_limits(before)


def configured_limits(images: ImagesConfig) -> DecodeLimits:
    """The limits of a configuration; those in force where it has 0."""
    return limits_in_force().changed({name: getattr(images, name) for name in _FIELDS})


def set_limit_for_children(name: str, value: float) -> None:
    """Change one limit of this process, and of those that it will start."""
    os.environ[_variable(name)] = f"{value:g}" if value < 1e6 else str(int(value))
    set_limits(limits_in_force().changed({name: value}))


def _variable(name: str) -> str:
    return f"SHARPEYE_{name.upper()}"


def _from_environment() -> dict[str, float]:
    settings = {}
    for name in _FIELDS:
        text = os.environ.get(_variable(name), "").strip()
        if not text:
            continue
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 < value < math.inf:
            raise UsageError(f"{_variable(name)} must be a number above 0. Received: {text}")
        settings[name] = value
    return settings
