"""Frames of a video or a camera as images of a class.

They are called `VIDEO_nohash_TIME.jpg`, so that a split keeps those of one video together. Frames
that show what the one before showed are left out.

Why PyAV: it gives each frame its own time, so that videos of uneven rate come out right, applies
to files that it is handed open, and can be told which formats to know. A playlist that calls itself
a video may name other files and hosts; OpenCV would open them.
"""

import contextlib
import io
import itertools
import re
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sharpeye.collect.ingest import ClassFolder
from sharpeye.collect.sources import ADDED, UNKNOWN
from sharpeye.collect.urls import CollectCounts, Tell
from sharpeye.errors import DataError, EnvironmentFault, MissingExtra, UsageError
from sharpeye.images.decode import DECODE_LIMITS

# Formats that hold a video themselves; none that only names other files (hls, concat, dash, sdp).
_FORMATS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,ogg,flv,asf,gif,h264,hevc,dv,mxf,wtv"
_CAMERA_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
_GRID = 16  # cells a side in which two frames are compared
# Mean grey levels of a cell by which a frame must differ: above a camera's noise, which a cell's
# mean takes away, and below what any object of a cell's size does.
_STILL_LEVELS = 4.0
_QUALITY = 92  # of the JPEGs; video has less
_MAX_DAMAGED = 10_000  # packets, before a file is given up

Pixels = npt.NDArray[np.uint8]


@dataclass
class Frames:
    """What became of a video.

    Attributes:
        seen: frames that were decoded.
        still: frames left out because they show what the one before showed.
        damaged: pieces that could not be decoded.
    """

    seen: int = 0
    still: int = 0
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class _Frame:
    seconds: float  # since the beginning
    pixels: Callable[[], Image.Image]


def is_camera(source: str) -> bool:
    """Whether a name means a camera: a number, or a device of Linux."""
    return re.fullmatch(r"\d{1,3}|/dev/video\d+", source) is not None


def collect_frames(
    source: str,
    folder: Path,
    *,
    every: float,
    tally: CollectCounts,
    most: int = 0,
    keep_still: bool = False,
    licence: str = UNKNOWN,
    tell: Tell = lambda *_: None,
) -> Frames:
    """Put a frame every so many seconds into a class folder.

    Args:
        source: a file, or a camera: see `is_camera`.
        every: seconds, above 0; a frame is taken when so many have passed since the one before.
        tally: is added to, also if this ends by an error.
        most: stop after so many new images; 0: at the end of the video.
        keep_still: also take frames that show what the one before showed.
        tell: is told ("collect", seconds done, seconds of the video; 0 if nobody knows).

    Raises:
        MissingExtra: PyAV is not installed.
        UsageError: no such file, `every` out of range, or a camera without `most`.
        DataError: no video, or one of which no frame can be decoded.
        EnvironmentFault: the camera does not open, disk full, no permission.
    """
    if not every > 0:
        raise UsageError(f"`every` must be above 0 seconds. Received: every={every:g}")
    camera = is_camera(source)
    if camera and not most:
        raise UsageError("a camera has no end: say with --max how many pictures to take")
    frames = Frames()
    started = datetime.now().astimezone().strftime("%Y%m%dT%H%M%S")
    stem = f"camera{re.sub(r'[^0-9]', '', source)}-{started}" if camera else _stem(Path(source))
    shown = f"camera {source} {started}" if camera else source
    last: Pixels | None = None
    read = _read(source, frames, camera=camera, every=every)
    first = next(read, None)  # before there is a folder
    if first is None:
        raise DataError(f"no frame of {source} can be decoded; the video is damaged or has none")
    with contextlib.closing(read), ClassFolder(folder) as opened:
        for frame, length in itertools.chain((first,), read):
            tell("collect, s", int(frame.seconds), max(int(length), int(frame.seconds)))
            image = frame.pixels()
            grid = np.asarray(image.resize((_GRID, _GRID), Image.Resampling.BOX))
            if last is not None and not keep_still and _is_still(last, grid):
                frames.still += 1
                continue
            last = grid
            place = f"{frame.seconds:09.3f}s"
            done = opened.ingest(
                _jpeg(image),
                source=f"{shown}#t={frame.seconds:.3f}",
                licence=licence,
                stem=f"{stem}_nohash_{place}",
            )
            tally.count(f"{shown} at {place}", done.status, done.reason)
            if most and tally.counts[ADDED] >= most:
                break
    return frames


def _read(
    source: str, frames: Frames, *, camera: bool, every: float
) -> Generator[tuple[_Frame, float], None, None]:
    """The frames that are due, each with the seconds that the video has (0: nobody knows)."""
    av = _library()
    with _opened(av, source, camera=camera) as container:
        if not container.streams.video:
            raise DataError(f"{source} has no video in it")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        length = 0.0 if camera or not container.duration else container.duration / av.time_base
        begin, due, clock = None, 0.0, time.monotonic()
        for frame in _decoded(av, container, stream, frames):
            now = time.monotonic() - clock if camera else frame.time
            if now is None:  # a bare stream without times
                now = (frames.seen - 1) / float(stream.average_rate or 25)
            begin = now if begin is None else begin
            seconds = max(0.0, now - begin)
            if seconds + 1e-6 < due:
                continue
            due = (seconds + 1e-6) // every * every + every
            yield _Frame(seconds, lambda frame=frame: _image(frame, source)), length  # type: ignore[misc]


def _decoded(av: Any, container: Any, stream: Any, frames: Frames) -> Iterator[Any]:
    packets = container.demux(stream)
    while frames.damaged < _MAX_DAMAGED:
        try:
            packet = next(packets, None)
            if packet is None:
                return
        except (av.error.FFmpegError, OSError):  # cut short: what came is of use
            frames.damaged += 1
            return
        try:
            decoded = packet.decode()
        except (av.error.FFmpegError, OSError):
            frames.damaged += 1
            continue
        for frame in decoded:
            frames.seen += 1
            yield frame


@contextlib.contextmanager
def _opened(av: Any, source: str, *, camera: bool) -> Iterator[Any]:
    if camera:
        with _opened_camera(av, source) as container:
            yield container
        return
    try:
        file = Path(source).open("rb")  # noqa: SIM115  what the block raises is not about it
    except OSError as error:
        raise UsageError(
            f"cannot read {source}: {error.strerror}; give a video, or a camera's number"
        ) from None
    with file:
        options = {"format_whitelist": _FORMATS, "protocol_whitelist": "none"}
        try:
            container = av.open(file, options=options)
        except (av.error.FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or "it cannot be opened"
            raise DataError(
                f"{source} is no video that can be read (MP4, MOV, MKV, WebM, AVI, MPEG, ...): "
                f"{reason}"
            ) from None
        with container:
            yield container


def _opened_camera(av: Any, source: str) -> Any:
    form = _CAMERA_FORMATS.get(sys.platform)
    number = re.sub(r"[^0-9]", "", source)
    place = {"v4l2": f"/dev/video{number}", "dshow": f"video={source}"}.get(form or "", number)
    try:
        return av.open(place, format=form)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise EnvironmentFault(
            f"cannot open the camera {source}: {reason}; is it connected, and free?"
        ) from None


def _image(frame: Any, source: str) -> Image.Image:
    """A frame, upright, as an image of mode RGB."""
    if (
        frame.width * frame.height > DECODE_LIMITS.pixels
        or max(frame.width, frame.height) > DECODE_LIMITS.side
    ):
        raise DataError(
            f"{source} has frames of {frame.width} x {frame.height} pixels, over the limit of "
            f"{DECODE_LIMITS.pixels // 1_000_000} megapixels"
        )
    image = Image.fromarray(frame.to_ndarray(format="rgb24"))
    turned = int(getattr(frame, "rotation", 0)) % 360  # counterclockwise, as Pillow has it
    return image.rotate(turned, expand=True) if turned else image


def _is_still(last: Pixels, grid: Pixels) -> bool:
    """Whether no cell of uint8[16,16,3] has changed by more than noise does."""
    return bool(np.abs(grid.astype(np.int16) - last).max() <= _STILL_LEVELS)


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _stem(file: Path) -> str:
    """A video's name as the beginning of its frames' names."""
    plain = re.sub(r"[^\w.+-]+", "-", file.stem)
    return plain.strip(" .-")[:80] or "video"


def _library() -> Any:
    try:
        import av
    except ImportError:
        raise MissingExtra("av", "collect", "taking frames") from None
    return av
