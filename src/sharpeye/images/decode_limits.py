"""Limits on the cost of one image, and the limits in force for the process.

A command sets them once, from its options or from the section [images] of its configuration;
every decode then uses them, unless it is called with limits of its own.

    decode(data, name)                        # the limits in force, see `limits_in_force`
    decode(data, name, replace(limits_in_force(), memory_bytes=150 * MB, wait_seconds=0.5))

`memory_bytes` bounds one image and `wait_seconds` the time in which it waits until the images that
other threads decode leave it enough of the shared budget (`images.decode_memory`). A server sets
both low: an image over `memory_bytes` is refused for good (`ImageReadError.transient` is False),
one for which there was no memory in time may be sent again (`transient` is True).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

MB = 1_000_000  # In the limits that people set, as in the names of files and cameras.


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
    wait_seconds: float | None = None


_lock = threading.Lock()
_in_force = DecodeLimits()


def limits_in_force() -> DecodeLimits:
    """The limits of every decode of this process that is called without limits of its own."""
    return _in_force


def set_limits(limits: DecodeLimits) -> DecodeLimits:
    """Put limits in force for all threads of this process; returns the limits before."""
    global _in_force
    with _lock:
        before, _in_force = _in_force, limits
    return before


@contextmanager
def use_limits(limits: DecodeLimits) -> Iterator[None]:
    """Put limits in force for all threads until the block ends."""
    before = set_limits(limits)
    try:
        yield
    finally:
        set_limits(before)
