"""Collect frames of a video or a camera as images of a class, without unchanged frames.

Why PyAV: it gives each frame its own time, so that videos of uneven rate come out right, reads a
file from an open handle, and can be limited to given formats. A playlist with the suffix of a video
may name other files and hosts; OpenCV would open them.
"""

import contextlib
import io
import itertools
import re
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sharpeye.collect.ingest import ClassFolder
from sharpeye.collect.sources import ADDED, UNKNOWN, CollectCounts
from sharpeye.core.arrays import Ints
from sharpeye.core.progress import StageProgress
from sharpeye.errors import DataError, EnvironmentFault, MissingExtra, UsageError
from sharpeye.images.decode_limits import limits_in_force

# Formats that contain a video, without those that refer to other files (hls, concat, dash, sdp).
_FORMATS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,ogg,flv,asf,gif,h264,hevc,dv,mxf,wtv"
_CAMERA_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
_GRID = 16  # cells per side for comparing two frames
# The difference in a cell's mean grey level that counts as a change: above camera noise, which the
# mean reduces, and below the effect of an object of a cell's size.
_STILL_LEVELS = 4.0
_JPEG_QUALITY = 92  # video has less
_BYTES_PER_PIXEL = (
    16  # of a frame, its pixels as an array, and as an image, before and after a turn
)
_MAX_DAMAGED = 10_000  # damaged packets before a file is given up


@dataclass
class FrameCounts:
    """Counts of a video's frames."""

    decoded: int = 0  # frames that were decoded
    still: int = 0  # frames left out because they equal the previous one
    damaged: int = 0  # packets that could not be decoded


def is_camera(source: str) -> bool:
    """Whether a name means a camera: a number, or a device of Linux."""
    return re.fullmatch(r"\d{1,3}|/dev/video\d+", source) is not None


def collect_frames(
    source: str,
    folder: Path,
    *,
    every: float,
    counts: CollectCounts,
    max_images: int = 0,
    keep_still: bool = False,
    licence: str = UNKNOWN,
    progress: StageProgress | None = None,
) -> FrameCounts:
    """Put one frame per interval into a class folder.

    Frames are called `VIDEO_nohash_TIME.jpg`, so that a split keeps those of a video together.

    Args:
        source: a file, or a camera: see `is_camera`.
        every: seconds, above 0; the shortest time between two frames.
        counts: increased by the results, even after an error.
        max_images: stop after so many new images; 0 reads the whole video.
        keep_still: also take frames that equal the previous one.
        progress: called with ("collect, s", seconds done, seconds of the video or else done).

    Raises:
        MissingExtra: PyAV is not installed.
        UsageError: no such file, `every` out of range, or a camera without `max_images`.
        DataError: not a video, or one without a decodable frame.
        EnvironmentFault: the camera does not open, disk full, no permission.
    """
    if not every > 0:
        raise UsageError(f"`every` must be above 0 seconds. Received: every={every:g}")
    camera = is_camera(source)
    if camera and not max_images:
        raise UsageError("a camera has no end: say with --max how many images to take")
    started = datetime.now().astimezone().strftime("%Y%m%dT%H%M%S")
    stem = f"camera{_digits(source)}-{started}" if camera else _stem(Path(source))
    shown = f"camera {source} {started}" if camera else source
    frame_counts = FrameCounts()
    last_grid: Ints | None = None  # int16[16,16,3], mean levels of the cells
    due_frames = _read_due(source, frame_counts, camera=camera, every=every)
    first = next(due_frames, None)  # before the folder is created
    if first is None:
        raise DataError(f"no frame of {source} can be decoded; the video is damaged or has none")
    with contextlib.closing(due_frames), ClassFolder(folder) as class_folder:
        for seconds, length, frame in itertools.chain((first,), due_frames):
            if progress:
                progress("collect, s", int(seconds), max(int(length), int(seconds)))
            image = _upright_image(frame, source)
            grid = np.asarray(image.resize((_GRID, _GRID), Image.Resampling.BOX), np.int16)
            still = last_grid is not None and np.abs(grid - last_grid).max() <= _STILL_LEVELS
            if still and not keep_still:
                frame_counts.still += 1
                continue
            last_grid = grid
            time_name = f"{seconds:09.3f}s"
            jpeg = io.BytesIO()
            image.save(jpeg, "JPEG", quality=_JPEG_QUALITY)
            ingested = class_folder.ingest(
                jpeg.getvalue(),
                source=f"{shown}#t={seconds:.3f}",
                licence=licence,
                stem=f"{stem}_nohash_{time_name}",
            )
            counts.count(f"{shown} at {time_name}", ingested.status, ingested.reason)
            if max_images and counts.counts[ADDED] >= max_images:
                break
    return frame_counts


def _read_due(
    source: str, counts: FrameCounts, *, camera: bool, every: float
) -> Generator[tuple[float, float, Any], None, None]:
    """(seconds since the beginning, seconds of the video or 0, PyAV's frame) of the due frames."""
    try:
        import av
    except ImportError:
        raise MissingExtra("av", "collect", "taking frames") from None
    opened = _open_camera(av, source) if camera else _open_file(av, source)
    with opened as container:
        if not container.streams.video:
            raise DataError(f"{source} has no video in it")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        length = 0.0 if camera or not container.duration else container.duration / av.time_base
        begin, due, opened_at = None, 0.0, time.monotonic()
        for frame in _decode(av, container, stream, counts=counts):
            now = time.monotonic() - opened_at if camera else frame.time
            if now is None:  # a raw stream without times
                now = (counts.decoded - 1) / float(stream.average_rate or 25)
            begin = now if begin is None else begin
            seconds = max(0.0, now - begin)
            if seconds + 1e-6 < due:  # rounded times may be slightly lower
                continue
            due = (seconds + 1e-6) // every * every + every
            yield seconds, length, frame


def _decode(av: Any, container: Any, stream: Any, *, counts: FrameCounts) -> Iterator[Any]:
    packets = container.demux(stream)
    while counts.damaged < _MAX_DAMAGED:
        try:
            packet = next(packets, None)
            if packet is None:
                return
        except (av.error.FFmpegError, OSError):  # truncated: the frames so far are usable
            counts.damaged += 1
            return
        try:
            frames = packet.decode()
        except (av.error.FFmpegError, OSError):
            counts.damaged += 1
            continue
        for frame in frames:
            counts.decoded += 1
            yield frame


@contextlib.contextmanager
def _open_file(av: Any, source: str) -> Iterator[Any]:
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


def _open_camera(av: Any, source: str) -> Any:
    driver, number = _CAMERA_FORMATS.get(sys.platform), _digits(source)
    device = {"v4l2": f"/dev/video{number}", "dshow": f"video={source}"}.get(driver or "", number)
    try:
        return av.open(device, format=driver)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise EnvironmentFault(
            f"cannot open the camera {source}: {reason}; is it connected, and free?"
        ) from None


def _upright_image(frame: Any, source: str) -> Image.Image:
    """A decoded frame as an image of mode RGB."""
    width, height = frame.width, frame.height
    limits = limits_in_force()
    max_pixels = min(limits.pixels, limits.memory_bytes // _BYTES_PER_PIXEL)
    if width * height > max_pixels or max(width, height) > limits.side:
        raise DataError(
            f"{source} has frames of {width} x {height} pixels, over the limit of "
            f"{max_pixels // 1_000_000} megapixels"
        )
    image = Image.fromarray(frame.to_ndarray(format="rgb24"))
    degrees = int(getattr(frame, "rotation", 0)) % 360  # counterclockwise, as in Pillow
    return image.rotate(degrees, expand=True) if degrees else image


def _stem(file: Path) -> str:
    """The beginning of the frames' names, from the video's name."""
    return re.sub(r"[^\w.+-]+", "-", file.stem).strip(" .-")[:80] or "video"


def _digits(source: str) -> str:
    return re.sub(r"[^0-9]", "", source)
