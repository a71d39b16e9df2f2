"""Frames of videos: clips are made here, so PyAV must be there for all but a few."""

import csv
import struct
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sharpeye.collect import frames as module
from sharpeye.collect.frames import FrameCounts, collect_frames, is_camera
from sharpeye.collect.sources import CollectCounts
from sharpeye.data.image_folder import scan_folder
from sharpeye.data.split_rules import families
from sharpeye.errors import DataError, EnvironmentFault, MissingExtra, UsageError

RATE = 10


def write_clip(file: Path, seconds: float = 3.0, *, still_from: float = 99.0) -> Path:
    """Two noise halves whose colours change every frame, red above and blue below."""
    av: Any = pytest.importorskip("av")
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.bit_rate = 2_000_000
        for number in range(int(seconds * RATE)):
            shown = min(number, int(still_from * RATE))
            pixels = np.zeros((48, 64, 3), np.uint8)
            pixels[:24, :, 0] = 100 + shown * 5 % 150
            pixels[24:, :, 2] = 250 - shown * 5 % 150
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file


def take(
    source: Path | str, folder: Path, every: float = 0.5, **options: Any
) -> tuple[CollectCounts, FrameCounts]:
    counts = CollectCounts()
    return counts, collect_frames(str(source), folder, every=every, counts=counts, **options)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.jpg"))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "mov"])
def test_a_frame_every_so_often_named_by_its_time(suffix: str, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / f"my clip.{suffix}")
    folder = tmp_path / "photos" / "rose"
    counts, frames = take(clip, folder, licence="mine")
    assert names(folder) == [f"my-clip_nohash_{t / 2:09.3f}s.jpg" for t in range(6)]
    assert counts.counts == {"added": 6}
    assert frames == FrameCounts(decoded=30)
    for number, name in enumerate(names(folder)):
        with Image.open(folder / name) as image:
            assert image.size == (64, 48)
            red, blue = image.getpixel((30, 10)), image.getpixel((30, 40))
        assert abs(red[0] - (100 + number * 25 % 150)) < 16  # type: ignore[index]
        assert blue[2] > 90 > blue[0]  # type: ignore[index]
    with (folder / "sources.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1]["source"] == f"{clip}#t=0.500"
    assert rows[1]["licence"] == "mine"
    again, _ = take(clip, folder)
    assert again.counts == {"duplicate": 6}
    assert len(names(folder)) == 6


def test_frames_of_a_video_are_one_family(tmp_path: Path) -> None:
    for name in ("a", "b"):
        take(write_clip(tmp_path / f"{name}.mp4"), tmp_path / "photos" / "rose", every=1.0)
        (tmp_path / f"{name}.mp4").unlink()
    samples = scan_folder(tmp_path / "photos", min_classes=1)
    # The second clip shows the same, so its frames are there already.
    assert {frozenset(names) for names in families(samples.samples)} == {frozenset({"rose/a"})}


def test_frames_that_show_the_same_are_left_out(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", still_from=1.0)
    counts, frames = take(clip, tmp_path / "c", every=0.1)
    assert len(names(tmp_path / "c")) == counts.counts["added"]
    assert 9 <= counts.counts["added"] <= 13
    assert frames.still == 30 - counts.tries
    all_counts, frames = take(clip, tmp_path / "d", every=0.1, keep_still=True)
    assert (all_counts.tries, frames.still) == (30, 0)


def test_the_number_of_frames_is_limited(tmp_path: Path) -> None:
    counts, frames = take(
        write_clip(tmp_path / "clip.mp4"), tmp_path / "c", every=0.1, max_images=4
    )
    assert counts.counts == {"added": 4}
    assert frames.decoded < 30


def test_a_phone_clip_stands_upright(tmp_path: Path) -> None:
    """Held upright, a phone writes lying frames and says in the header how to turn them."""
    clip = write_clip(tmp_path / "clip.mp4")
    data = bytearray(clip.read_bytes())
    header = data.index(b"tkhd") + 4  # then version and flags, and 36 bytes more: the matrix
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    data[header + 40 : header + 76] = matrix
    clip.write_bytes(data)
    take(clip, tmp_path / "c", every=1.0)
    with Image.open(tmp_path / "c" / names(tmp_path / "c")[0]) as image:
        assert image.size == (48, 64)
        right, left = image.getpixel((40, 30)), image.getpixel((8, 30))
    # Turned clockwise, what was above is at the right.
    assert right[0] > 80 > right[2]  # type: ignore[index]
    assert left[2] > 80 > left[0]  # type: ignore[index]


def test_a_clip_that_is_cut_short_gives_what_it_has(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    counts, frames = take(clip, tmp_path / "c", every=0.1)
    assert 5 < frames.decoded < 30
    assert counts.counts["added"] == frames.decoded - frames.still


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.mp4", b""),
        ("text.mp4", b"no video at all " * 100),
        (
            "list.m3u8",
            b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{clip}\n#EXT-X-ENDLIST\n",
        ),
        ("list.mp4", b"ffconcat version 1.0\nfile clip.mp4\n"),
        ("list.sdp", b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"),
    ],
)
def test_a_file_that_is_no_video_or_only_names_one_is_refused(
    name: str, content: bytes, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    file = tmp_path / name
    file.write_bytes(content.replace(b"{clip}", str(clip).encode()))
    with pytest.raises(DataError, match=r"is no video that can be read|no frame of"):
        take(file, tmp_path / "c")
    with pytest.raises(UsageError, match="cannot read"):
        take(tmp_path / "nowhere.mp4", tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_missing_camera_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("av")
    if sys.platform != "linux":
        pytest.skip("cameras are called otherwise here")
    with pytest.raises(EnvironmentFault, match=r"cannot open the camera 99: .*is it connected"):
        take("99", tmp_path / "c", max_images=1)


# --- without PyAV --------------------------------------------------------------------------------


def test_names_of_cameras() -> None:
    assert [is_camera(name) for name in ("0", "12", "/dev/video0")] == [True] * 3
    assert [is_camera(name) for name in ("clip.mp4", "0.mp4", "./0", "/dev/sda")] == [False] * 4


def test_invalid_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="say with --max"):
        take("0", tmp_path / "c")
    with pytest.raises(UsageError, match="`every` must be above 0"):
        take("clip.mp4", tmp_path / "c", every=0)
    assert not (tmp_path / "c").exists()


def test_without_the_library_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"taking frames needs av.*sharpeye\[collect\]"):
        take("clip.mp4", tmp_path / "c")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("clip.mp4", "clip"),
        ("my holiday (1).mov", "my-holiday-1"),
        ("..mp4", "video"),
        ("Blümchen.mkv", "Blümchen"),
        ("a" * 200 + ".mp4", "a" * 80),
        ("-.mp4", "video"),
    ],
)
def test_a_video_s_name_becomes_part_of_a_file_s(name: str, stem: str) -> None:
    assert module._stem(Path("folder") / name) == stem
